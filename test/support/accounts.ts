import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadAccountFiles, openAccountBackend } from '../../licensing/accounts/backend';
import type { AccountBackend } from '../../licensing/accounts/backend';
import { TrustedProxies } from '../../runtime/rpc/peer';
import { issueAccessToken } from '../../licensing/tokens/access-token';
import { generateSecondFactorKeys } from '../../licensing/second-factor/keys';
import { generateTokenKeys } from '../../licensing/tokens/keys';
import { built } from './built';
import { writeTrustFiles } from './login-trust';
import type { Clock } from '../../runtime/clock';

export const TRUST_DOMAIN = 'sls.test';

/** Files and settings that signup and login take, for a database of the test's. */
export interface AccountFiles {
  folder: string;
  settings: {
    DATABASE_URL_FILE: string;
    TOKEN_KEYS_FILE: string;
    SECOND_FACTOR_KEYS_FILE: string;
    TRUST_DOMAIN: string;
    TRUST_BUNDLE_FILE: string;
    REVOCATION_KEYS_FILE: string;
    LOG_KEYS_FILE: string;
  };
  remove(): Promise<void>;
}

export async function writeAccountFiles(url: string): Promise<AccountFiles> {
  const folder = await mkdtemp(join(tmpdir(), 'sls-accounts-'));
  await writeFile(join(folder, 'url'), `${url}\n`, { mode: 0o600 });
  await writeFile(join(folder, 'keys.json'), await generateTokenKeys(), { mode: 0o600 });
  await writeFile(join(folder, 'second-factor-keys.json'), generateSecondFactorKeys(), { mode: 0o600 });
  await writeFile(join(folder, 'log-keys.json'), await generateTokenKeys(), { mode: 0o600 });
  return {
    folder,
    settings: {
      DATABASE_URL_FILE: join(folder, 'url'),
      TOKEN_KEYS_FILE: join(folder, 'keys.json'),
      SECOND_FACTOR_KEYS_FILE: join(folder, 'second-factor-keys.json'),
      TRUST_DOMAIN,
      LOG_KEYS_FILE: join(folder, 'log-keys.json'),
      ...(await writeTrustFiles(folder)),
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

/** All callers of a test have one address. */
export const UNLIMITED = { LOGIN_FAILURES_PER_ACCOUNT: 0, LOGIN_FAILURES_PER_ADDRESS: 0, SIGNUPS_PER_ADDRESS: 0 };

export interface ReplicaOptions {
  cost?: number;
  threads?: number;
  queue?: number;
  proxies?: string;
  limits?: typeof UNLIMITED;
  clock?: Clock;
}

/** The backend of a replica, as its main.ts opens it. Passwords are cheap, and guesses without limit, unless the test is about them. */
export async function openReplica(
  { settings }: AccountFiles,
  { cost = 4, threads = 2, queue = 200, proxies = '', limits = UNLIMITED, clock }: ReplicaOptions = {},
): Promise<AccountBackend> {
  // Hashing threads run programs of dist/.
  built('password-worker');
  const hashing = { BCRYPT_COST: cost, HASH_WORKERS: threads, HASH_QUEUE: queue };
  return openAccountBackend(
    { ...settings, ...hashing, ...limits, DATABASE_POOL: 4, TRUSTED_PROXIES: new TrustedProxies(proxies) },
    await loadAccountFiles(settings, { clock }),
    { program: 'test', clock },
  );
}

/** Begins a session of a user who is there. @returns its tokens */
export async function beginSession(
  backend: AccountBackend,
  user: string,
): Promise<{ session: string; accessToken: string; refreshToken: string }> {
  const passwordHash = (await backend.accounts.findById(user))!.passwordHash!;
  const session = randomUUID();
  const authenticatedAt = Math.floor(Date.now() / 1000);
  const { refreshToken } = await backend.sessions.begin(
    { user, session, authenticatedAt, passwordHash },
    { name: 'test', address: '192.0.2.1' },
  );
  const { token } = await issueAccessToken(
    backend.tokenKeys,
    { user, session, authenticatedAt },
    { trustDomain: TRUST_DOMAIN },
  );
  return { session, accessToken: token, refreshToken };
}
