import { status } from '@grpc/grpc-js';
import pg from 'pg';
import { RpcError } from '../../runtime/rpc/errors';
import { CONNECT_MS, inTransaction, queriesBy, withConnection } from './connection';
import { migrate, missingMigrations } from './migrate';
import type { Migration } from './migrate';
import { migrations } from './migrations';
import type { Queries, Value } from './queries';
import { systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';
import { Backoff } from '../../runtime/backoff';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';
import { currentRequester, workForAll } from '../../runtime/turns/requester';
import { Turns } from '../../runtime/turns/turns';

/**
 * The database of the functions. Every method throws RpcError UNAVAILABLE `store.unavailable` when the database can't be
 * reached or doesn't answer in time; other errors are pg's.
 */
export interface Database extends Queries {
  /**
   * As `query`, tried again when the connection breaks: only for a statement that may run twice, because nobody knows
   * whether the first one took effect.
   */
  queryTwice<Row extends object>(text: string, values?: readonly Value[]): Promise<Row[]>;
  /** Runs `work` in one transaction: rolled back when it throws. `work` does nothing but statements. */
  transaction<T>(work: (queries: Queries) => Promise<T>): Promise<T>;
  /** As `transaction`, tried again when the connection breaks: only for work that may be done twice, as with `queryTwice`. */
  transactionTwice<T>(work: (queries: Queries) => Promise<T>): Promise<T>;
  /** Applies the migrations that are missing. Called by itself before the first statement; known to be done afterwards. */
  prepare(): Promise<void>;
  /** Of the pool, now. */
  use(): { connections: number; idle: number; waiting: number };
  close(): Promise<void>;
}

interface DatabaseOptions {
  /** Connections at most: small, because every replica of a function has its own pool. */
  poolSize: number;
  /** Shown by PostgreSQL in its list of connections. */
  applicationName?: string;
  /** Silent, unless told. */
  log?: Logger;
  /** The system's, unless told. */
  clock?: Clock;
  /** Those of the schema, unless told. */
  steps?: readonly Migration[];
  /** What a statement may take, ms; a migration's may take longer. */
  statementMs?: number;
}

const STATEMENT_MS = 5_000;
const RETRY = { firstMs: 100, mostMs: 1_000 };
/** No new try after this: the caller waits, and so do those behind it. */
const RETRY_MS = 2_000;

/** Those who wait for a connection. */
const MAX_WAITING = 4096;
/** Whoever asks on nobody's behalf: what the program does by itself. */
const PROGRAM = 'program';

/**
 * SQLSTATE classes (PostgreSQL documentation, appendix A) of a server that is not there for now: connection exceptions,
 * insufficient resources, operator intervention; and what a standby says during a failover.
 */
const AWAY = /^(08|53|57)|^25006$/;

/** Errors of the connection itself, by Node's code or pg's text: pg gives these no code. */
const BROKEN = /^(ECONN|EPIPE|ENOENT|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EACCES)/;
const BROKEN_TEXT =
  /timeout exceeded when trying to connect|connection terminated|query read timeout|not queryable|cannot use a pool after/i;

/** True when the database is away, as against having refused a statement. */
function isAway(error: unknown): boolean {
  if (typeof error !== 'object' || error === null) return false;
  const { code, message, errors } = error as { code?: unknown; message?: unknown; errors?: unknown };
  // Node tries every address of a host name and reports one error for each.
  if (Array.isArray(errors) && errors.some(isAway)) return true;
  if (typeof code === 'string' && (AWAY.test(code) || BROKEN.test(code))) return true;
  return typeof message === 'string' && BROKEN_TEXT.test(message);
}

function unavailable(cause: unknown): RpcError {
  return new RpcError('store.unavailable', status.UNAVAILABLE, 'the account database is away for now: try again', {
    cause,
  });
}

/** Opens a pool. Connects at the first statement, so a database that is away doesn't keep a program from starting. */
export function openDatabase(
  url: string,
  {
    poolSize,
    applicationName = 'sls',
    clock = systemClock,
    log = silent,
    steps = migrations,
    statementMs = STATEMENT_MS,
  }: DatabaseOptions,
): Database {
  const pool = new pg.Pool({
    connectionString: url,
    max: poolSize,
    connectionTimeoutMillis: CONNECT_MS,
    idleTimeoutMillis: 10_000,
    statement_timeout: statementMs,
    query_timeout: statementMs + 1_000,
    idle_in_transaction_session_timeout: statementMs,
    keepAlive: true,
    application_name: applicationName,
  });
  // A connection that broke while nobody used it: pg drops it from the pool, the next statement gets another one.
  pool.on('error', (err) => log.warn({ reason: err.message }, 'database connection lost'));

  let prepared: Promise<void> | undefined;

  /** A connection that answers; tried again while the database comes back, as after a restart. Nothing was sent before. */
  const connect = async (): Promise<pg.PoolClient> => {
    const backoff = new Backoff({ ...RETRY, clock });
    const end = clock.monotonic() + RETRY_MS;
    for (;;) {
      try {
        return await pool.connect();
      } catch (error) {
        const delay = backoff.next();
        if (clock.monotonic() + delay > end || pool.ending || !isAway(error)) {
          log.error(
            { reason: (error as Error).message, code: (error as { code?: string }).code },
            'database not reached',
          );
          throw unavailable(error);
        }
        await clock.sleep(delay);
      }
    }
  };

  // One connection is left to others, however long the statements of one owner take.
  const turns = new Turns({ atOnce: poolSize, ofOne: Math.max(1, poolSize - 1), waiting: MAX_WAITING }, () =>
    unavailable(new Error(`more than ${MAX_WAITING} wait for a connection`)),
  );

  /**
   * Whoever asks takes turns with others, and waits no longer than for a connection. For a caller who is gone nothing is begun; what was begun for them
   * before is brought to its end.
   */
  const enter = async (): Promise<() => void> => {
    const requester = currentRequester();
    const owner = requester?.owner ?? PROGRAM;
    const nobodyWaits = requester && !requester.begun ? requester.signal : undefined;
    nobodyWaits?.throwIfAborted();
    const leave = turns.enterAtOnce(owner) ?? (await waitForTurn(owner, nobodyWaits));
    if (requester) requester.begun = true;
    return leave;
  };

  const waitForTurn = async (owner: string, nobodyWaits: AbortSignal | undefined): Promise<() => void> => {
    const late = new AbortController();
    const timer = clock.after(CONNECT_MS, () => late.abort(unavailable(new Error('no connection became free'))));
    try {
      return await turns.enter(owner, nobodyWaits ? AbortSignal.any([late.signal, nobodyWaits]) : late.signal);
    } finally {
      timer.cancel();
    }
  };

  const withClient = async <T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> => {
    const leave = await enter();
    try {
      return await withPooled(work);
    } finally {
      leave();
    }
  };

  const withPooled = async <T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> => {
    const client = await connect();
    let broken: Error | undefined;
    // Without a listener, a connection that breaks between two statements of a transaction would end the process.
    const onError = (error: Error): void => void (broken = error);
    client.on('error', onError);
    try {
      return await work(client);
    } catch (error) {
      if (!broken && !isAway(error)) throw error;
      broken ??= error as Error;
      log.warn({ reason: (error as Error).message }, 'database connection lost');
      throw unavailable(error);
    } finally {
      client.off('error', onError);
      client.release(broken);
    }
  };

  const transaction = <T>(work: (queries: Queries) => Promise<T>): Promise<T> =>
    withClient((client) => inTransaction(client, work));

  /** By a connection of its own: one that is ended for taking long would begin the migration anew for ever. */
  const migrateUnlimited = (): Promise<void> =>
    withConnection(url, `${applicationName}-migration`, (connection) => migrate(connection, steps, { log, clock }), {
      log,
    }).catch((error: unknown) => {
      throw isAway(error) ? unavailable(error) : error;
    });

  const prepare = (): Promise<void> => {
    prepared ??= workForAll(async () => {
      const queries: Queries = {
        query: (text, values = []) => withClient((client) => queriesBy(client).query(text, values)),
      };
      if ((await missingMigrations(queries, steps)).length > 0) await migrateUnlimited();
    }).catch((error: unknown) => {
      prepared = undefined;
      throw error;
    });
    return prepared;
  };

  const query = async <Row extends object>(text: string, values: readonly Value[] = []): Promise<Row[]> => {
    await prepare();
    return withClient((client) => queriesBy(client).query<Row>(text, values));
  };

  const begin: Database['transaction'] = async (work) => {
    await prepare();
    return transaction(work);
  };

  return {
    query,
    queryTwice: (text, values) => twice(() => query(text, values)),
    transaction: begin,
    transactionTwice: (work) => twice(() => begin(work)),
    prepare,
    use: () => ({ connections: pool.totalCount, idle: pool.idleCount, waiting: turns.waiting }),
    close: () => pool.end(),
  };
}

async function twice<T>(once: () => Promise<T>): Promise<T> {
  try {
    return await once();
  } catch (error) {
    if (!(error instanceof RpcError && error.code === 'store.unavailable')) throw error;
    return once();
  }
}
