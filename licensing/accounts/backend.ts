import { availableParallelism } from 'node:os';
import { z } from 'zod';
import { Refusals } from '../audit/refusals';
import { proxiesSetting } from '../../runtime/config/listen';
import type { CurrentFiles } from '../../runtime/config/reloading-file';
import { currentSetting } from '../../runtime/config/reloading-setting';
import { Limits } from '../limits/limits';
import { PasswordHasher } from '../passwords/hasher';
import type { CallContext } from '../../runtime/rpc/handlers';
import { callerAddress } from '../../runtime/rpc/peer';
import { readSecondFactorKeys } from '../second-factor/keys';
import type { SecondFactorKeys } from '../second-factor/keys';
import { SecondFactors } from '../second-factor/second-factors';
import { Sessions } from '../sessions/sessions';
import type { Database } from '../store/database';
import { openFunctionDatabase, readDatabaseUrl } from '../store/open';
import { readTokenKeys } from '../tokens/keys';
import type { TokenKeys } from '../tokens/keys';
import { Accounts } from './accounts';
import { clientNameOf } from '../sessions/client-details';
import type { ClientDetails } from '../sessions/client-details';
import { systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';

const count = (least: number, most: number) => z.coerce.number().int().min(least).max(most);

/** Settings of the programs that know accounts, signup and login: spread into their schemas. */
export const accountSettings = {
  /** A file with one line: postgres://… */
  DATABASE_URL_FILE: z.string(),
  /** Connections at most, for each replica. */
  DATABASE_POOL: count(1, 100).default(4),
  /** A private JWK Set: see readTokenKeys. */
  TOKEN_KEYS_FILE: z.string(),
  TRUST_DOMAIN: z.string().regex(/^[a-z0-9]([a-z0-9.-]{0,253}[a-z0-9])?$/, 'expected a DNS-like name'),
  /** Encrypts authenticators' secrets: see readSecondFactorKeys. Without it nobody can have a second factor. */
  SECOND_FACTOR_KEYS_FILE: z.string().optional(),
  BCRYPT_COST: count(4, 16).default(12),
  HASH_WORKERS: count(1, 256).default(availableParallelism()),
  HASH_QUEUE: count(0, 10_000).default(32),
  /** Limits on guessing, for all replicas together; 0: none. See LimitSizes. */
  LOGIN_FAILURES_PER_ACCOUNT: count(0, 1_000_000).default(10),
  LOGIN_FAILURES_PER_ADDRESS: count(0, 1_000_000).default(300),
  SIGNUPS_PER_ADDRESS: count(0, 1_000_000).default(200),
  TRUSTED_PROXIES: proxiesSetting,
};

type AccountSettings = z.infer<z.ZodObject<typeof accountSettings>>;

/** What signup and login share: accounts, sessions, passwords, tokens. */
export interface AccountBackend {
  database: Database;
  accounts: Accounts;
  sessions: Sessions;
  hasher: PasswordHasher;
  limits: Limits;
  secondFactors: SecondFactors;
  refusals: Refusals;
  clock: Clock;
  log: Logger;
  /** Of the file as it is now: it may be replaced while the program runs. */
  readonly tokenKeys: TokenKeys;
  trustDomain: string;
  /** Who calls, as far as it can be seen. @param name the client's own word */
  clientOf(context: CallContext, name: string): ClientDetails;
  close(): Promise<void>;
}

interface AccountBackendOptions {
  /** Shown by PostgreSQL in its list of connections. */
  program: string;
  /** Silent, unless told. */
  log?: Logger;
  /** The system's, unless told. */
  clock?: Clock;
}

/** What the files of these settings hold. Those with keys may be replaced while the program runs. */
interface AccountFiles {
  databaseUrl: string;
  tokenKeys: CurrentFiles<TokenKeys>;
  secondFactorKeys: CurrentFiles<SecondFactorKeys> | undefined;
}

/** @throws ConfigError */
export async function loadAccountFiles(
  settings: Pick<AccountSettings, 'DATABASE_URL_FILE' | 'TOKEN_KEYS_FILE' | 'SECOND_FACTOR_KEYS_FILE'>,
  { clock = systemClock, log = silent }: { clock?: Clock; log?: Logger } = {},
): Promise<AccountFiles> {
  const { TOKEN_KEYS_FILE, SECOND_FACTOR_KEYS_FILE } = settings;
  const reloading = { clock, log };
  return {
    databaseUrl: await readDatabaseUrl(settings),
    tokenKeys: await currentSetting({ TOKEN_KEYS_FILE }, ([json]) => readTokenKeys(String(json), clock), reloading),
    secondFactorKeys:
      SECOND_FACTOR_KEYS_FILE === undefined
        ? undefined
        : await currentSetting({ SECOND_FACTOR_KEYS_FILE }, ([json]) => readSecondFactorKeys(String(json)), reloading),
  };
}

/**
 * Opens it by the settings. A database that is away doesn't keep a function from serving: its calls are answered
 * UNAVAILABLE until the database is back, which restarting every replica would not bring about.
 * @throws MigrationError or pg's error when the database refuses the schema
 */
export async function openAccountBackend(
  settings: AccountSettings,
  { databaseUrl, tokenKeys, secondFactorKeys }: AccountFiles,
  { program, clock = systemClock, log = silent }: AccountBackendOptions,
): Promise<AccountBackend> {
  const poolSize = settings.DATABASE_POOL;
  const database = await openFunctionDatabase(databaseUrl, { program, poolSize, log, clock });
  const refusals = new Refusals(database, { clock, log });
  const hasher = new PasswordHasher({
    cost: settings.BCRYPT_COST,
    threads: settings.HASH_WORKERS,
    queue: settings.HASH_QUEUE,
    log,
  });
  return {
    database,
    accounts: new Accounts(database, clock),
    sessions: new Sessions(database, log),
    hasher,
    limits: new Limits(database, {
      failuresPerAccount: settings.LOGIN_FAILURES_PER_ACCOUNT,
      failuresPerAddress: settings.LOGIN_FAILURES_PER_ADDRESS,
      signupsPerAddress: settings.SIGNUPS_PER_ADDRESS,
    }),
    secondFactors: new SecondFactors(database, () => secondFactorKeys?.current, clock, log),
    refusals,
    clock,
    log,
    get tokenKeys() {
      return tokenKeys.current;
    },
    trustDomain: settings.TRUST_DOMAIN,
    clientOf: (context, name) => ({
      name: clientNameOf(name),
      address: callerAddress(context, settings.TRUSTED_PROXIES),
    }),
    async close() {
      tokenKeys.close();
      secondFactorKeys?.close();
      await refusals.close();
      await Promise.all([hasher.close(), database.close()]);
    },
  };
}
