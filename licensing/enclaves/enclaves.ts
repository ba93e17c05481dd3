import { status } from '@grpc/grpc-js';
import { recordAudit } from '../audit/audit';
import { RpcError } from '../../runtime/rpc/errors';
import type { Database } from '../store/database';
import type { Queries } from '../store/queries';
import type { EnclaveId } from '../../attestation/evidence/enclave-name';

/** A deletion that has been under way for so long was left by whoever began it. */
const ABANDONED_SECONDS = 120;

/** Any number that no other program takes as an advisory lock on the same database. */
const LOCK = 7_234_620_184_015_124n;

interface EnclaveRecord {
  name: string;
  createdAt: Date;
  lastUsedAt: Date;
}

interface Row {
  name: string;
  created_at: Date;
  last_used_at: Date;
}

function beingDeleted(name: string): RpcError {
  return new RpcError(
    'enclave.being_deleted',
    status.UNAVAILABLE,
    `the enclave ${name} is being deleted at this moment: try again`,
  );
}

/**
 * The enclaves table: which enclaves users have, running or not. It is written before the first thing of an enclave is made, and the last thing
 * to go when it is deleted, so what is found in a cluster without a row here is left over. Refusals of the database: see Database.
 */
export class EnclaveRegistry {
  /** @param most enclaves of all users together; 0: without limit */
  constructor(
    private readonly database: Database,
    private readonly most = 0,
  ) {}

  /**
   * Notes that a login wants this enclave. Of calls at once, on whichever replicas, no more new names get in than `limit` says; what a user has
   * already is never refused.
   * @param limit asked for a new name only: how many the user may have
   * @returns true when the name is new
   * @throws RpcError RESOURCE_EXHAUSTED `enclave.limit`, `enclave.installation_full`; UNAVAILABLE `enclave.being_deleted`; UNAUTHENTICATED `login.session_ended` when the account is gone
   */
  async claim({ user, name }: EnclaveId, limit: () => Promise<number>): Promise<boolean> {
    const [known] = await this.database.queryTwice<{ deleting: boolean }>(
      'SELECT deleting_at IS NOT NULL AS deleting FROM enclaves WHERE user_id = $1 AND name = $2',
      [user, name],
    );
    if (known?.deleting === true) throw beingDeleted(name);
    if (known) return false;
    const most = await limit();
    return this.database.transaction(async (queries) => {
      // One new name of a user at a time.
      const account = await queries.query('SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE', [user]);
      if (account.length === 0)
        throw new RpcError('login.session_ended', status.UNAUTHENTICATED, 'the session has ended');
      const names = (
        await queries.query<{ name: string }>('SELECT name FROM enclaves WHERE user_id = $1 ORDER BY name', [user])
      ).map((row) => row.name);
      // Another login was faster.
      if (names.includes(name)) return false;
      if (names.length >= most) {
        const have = names.length === 0 ? 'none' : names.join(', ');
        throw new RpcError(
          'enclave.limit',
          status.RESOURCE_EXHAUSTED,
          `expected ${most} ${most === 1 ? 'enclave' : 'enclaves'} at most, got one more: ${name} beside ${have}`,
        );
      }
      await this.requireRoom(queries);
      await queries.query('INSERT INTO enclaves (user_id, name) VALUES ($1, $2)', [user, name]);
      return true;
    });
  }

  /** New accounts times enclaves would be without end. One new enclave of the installation at a time. */
  private async requireRoom(queries: Queries): Promise<void> {
    if (this.most === 0) return;
    await queries.query('SELECT pg_advisory_xact_lock($1)', [LOCK.toString()]);
    const [row] = await queries.query<{ count: number }>('SELECT count(*)::int AS count FROM enclaves');
    if ((row?.count ?? 0) < this.most) return;
    throw new RpcError(
      'enclave.installation_full',
      status.RESOURCE_EXHAUSTED,
      `expected ${this.most} enclaves of all users together at most, got one more`,
    );
  }

  /**
   * Notes that an enclave has been logged in to.
   * @throws RpcError UNAVAILABLE `enclave.being_deleted` where it was deleted, alone or with its user, while it started: what was started has to go
   */
  async used({ user, name }: EnclaveId): Promise<void> {
    const rows = await this.database.queryTwice(
      'UPDATE enclaves SET last_used_at = now() WHERE user_id = $1 AND name = $2 AND deleting_at IS NULL RETURNING name',
      [user, name],
    );
    if (rows.length === 0) throw beingDeleted(name);
  }

  /** True unless it was deleted or is being deleted. */
  async has({ user, name }: EnclaveId): Promise<boolean> {
    return (
      (
        await this.database.queryTwice(
          'SELECT 1 AS there FROM enclaves WHERE user_id = $1 AND name = $2 AND deleting_at IS NULL',
          [user, name],
        )
      ).length > 0
    );
  }

  /** By name; none that is being deleted. */
  async list(user: string): Promise<EnclaveRecord[]> {
    const rows = await this.database.queryTwice<Row>(
      'SELECT name, created_at, last_used_at FROM enclaves WHERE user_id = $1 AND deleting_at IS NULL ORDER BY name',
      [user],
    );
    return rows.map((row) => ({ name: row.name, createdAt: row.created_at, lastUsedAt: row.last_used_at }));
  }

  /**
   * Deletes an enclave: from the first moment on nobody is led to it, and its name is free when all of it is gone.
   * @param remove ends what runs and removes what is kept; done again by whoever comes next when it throws
   * @returns false when there is none
   */
  async delete({ user, name }: EnclaveId, remove: (enclave: EnclaveId) => Promise<void>): Promise<boolean> {
    const rows = await this.database.queryTwice(
      'UPDATE enclaves SET deleting_at = now() WHERE user_id = $1 AND name = $2 RETURNING name',
      [user, name],
    );
    return this.removeMarked(rows, { user, name }, remove);
  }

  /**
   * Goes on with a deletion that whoever began it has not ended for so long; nobody else does meanwhile.
   * @returns false when it has ended, or somebody goes on with it: an enclave that was made anew under the name is another one
   */
  async resumeDeletion(
    { user, name }: EnclaveId,
    remove: (enclave: EnclaveId) => Promise<void>,
    afterSeconds = ABANDONED_SECONDS,
  ): Promise<boolean> {
    const rows = await this.database.query(
      'UPDATE enclaves SET deleting_at = now() WHERE user_id = $1 AND name = $2 AND deleting_at < now() - make_interval(secs => $3) RETURNING name',
      [user, name, afterSeconds],
    );
    return this.removeMarked(rows, { user, name }, remove);
  }

  /** Gives up a name that `claim` said was new, whose enclave never ran. @returns false when another login has got to it meanwhile */
  async abandon({ user, name }: EnclaveId, remove: (enclave: EnclaveId) => Promise<void>): Promise<boolean> {
    const rows = await this.database.queryTwice(
      'UPDATE enclaves SET deleting_at = now() WHERE user_id = $1 AND name = $2 AND last_used_at = created_at RETURNING name',
      [user, name],
    );
    return this.removeMarked(rows, { user, name }, remove);
  }

  /** Deletions that whoever began them did not end. */
  async abandonedDeletions(): Promise<EnclaveId[]> {
    return this.database.query<EnclaveId>(
      `SELECT user_id::text AS user, name FROM enclaves WHERE deleting_at < now() - make_interval(secs => $1) ORDER BY deleting_at LIMIT 100`,
      [ABANDONED_SECONDS],
    );
  }

  /** @param rows as they were marked; none: there is nothing to do */
  private async removeMarked(
    rows: unknown[],
    id: EnclaveId,
    remove: (enclave: EnclaveId) => Promise<void>,
  ): Promise<boolean> {
    if (rows.length === 0) return false;
    await remove(id);
    await this.finish(id);
    return true;
  }

  private async finish({ user, name }: EnclaveId): Promise<void> {
    await this.database.transaction(async (queries) => {
      const rows = await queries.query(
        'DELETE FROM enclaves WHERE user_id = $1 AND name = $2 AND deleting_at IS NOT NULL RETURNING name',
        [user, name],
      );
      // Names are their user's words, and records outlive users.
      if (rows.length > 0) await recordAudit(queries, { kind: 'enclave.deleted', detail: { user } });
    });
  }
}
