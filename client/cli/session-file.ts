import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { DEFAULT_ENCLAVE } from '../../attestation/evidence/enclave-name';
import { parseTrustBundle } from '../../attestation/trust/bundle';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { parseSession, serializeSession } from '../index';
import type { Session, SessionTokens } from '../index';
import { chosenEnclave } from './chosen-enclave';
import { CliError, EXIT } from './exit';
import { stateFolder } from './folders';
import { removeIfThere, writeWhole } from '../../runtime/files/whole-file';
import type { TrustPreferences } from './trust';

/** What is kept between commands: the session's keys and tokens, and what it was verified against. */
export interface SavedSession {
  username: string;
  /** Began at the OpenID provider: so does the next one. */
  oidc?: boolean | undefined;
  /** As it was at login, with that login's policy: later commands demand the same. */
  trust: TrustBundle;
  /** What that login wanted otherwise than the operator's bundle says: put over newer bundles as well. */
  preferences?: TrustPreferences;
  session: Session;
}

/** Where the login to an enclave is kept, each by itself. */
export function sessionFile(enclave = chosenEnclave()): string {
  return join(stateFolder(), enclave === DEFAULT_ENCLAVE ? 'session.json' : `session-${enclave}.json`);
}

/** Of every enclave with a login on this machine, the one that this command is about first. */
export async function sessionFiles(): Promise<string[]> {
  const there = await readdir(stateFolder()).catch(() => []);
  const files = there.filter((name) => /^session(-[a-z0-9-]+)?\.json$/.test(name)).sort();
  const first = basename(sessionFile());
  return [first, ...files.filter((name) => name !== first)].map((name) => join(stateFolder(), name));
}

/** Replaces a saved session. @param file where it was loaded from; left out: that of the enclave that this command is about */
export async function saveSession(
  { username, oidc, trust, preferences = {}, session }: SavedSession,
  file = sessionFile(),
): Promise<void> {
  await writeWhole(
    file,
    JSON.stringify({
      version: 1,
      username,
      oidc,
      trust,
      preferences,
      session: JSON.parse(serializeSession(session)) as unknown,
    }),
  );
}

/** Replaces the tokens of the saved session: the refresh token that was used for them is worth nothing any more. */
export async function saveTokens(saved: SavedSession, tokens: SessionTokens, file?: string): Promise<SavedSession> {
  const renewed = { ...saved, session: { ...saved.session, ...tokens } };
  await saveSession(renewed, file);
  return renewed;
}

/**
 * Saves what became of a session. Not where another process has renewed it meanwhile: the service believes that one's tokens.
 * @param before as it was loaded
 */
export async function saveRenewed(
  before: SavedSession,
  renewed: Pick<SavedSession, 'trust' | 'session'>,
): Promise<void> {
  const there = (await loadSessionIfThere().catch(() => undefined))?.session.refreshToken;
  const known = [before.session.refreshToken, renewed.session.refreshToken];
  if (there === undefined || known.includes(there)) await saveSession({ ...before, ...renewed });
}

/** @throws CliError 4 when nobody is logged in */
export async function loadSession(): Promise<SavedSession> {
  const saved = await loadSessionIfThere();
  if (saved) return saved;
  const enclave = chosenEnclave();
  if (enclave === DEFAULT_ENCLAVE) throw new CliError(EXIT.authentication, 'not logged in', { hint: 'run: sls login' });
  throw new CliError(EXIT.authentication, `not logged in to the enclave ${enclave}`, {
    hint: `run: sls login --enclave ${enclave}`,
  });
}

export async function loadSessionIfThere(file = sessionFile()): Promise<SavedSession | undefined> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  try {
    const { version, username, oidc, trust, preferences, session } = JSON.parse(text) as Record<string, unknown>;
    if (version !== 1 || typeof username !== 'string')
      throw new TypeError(`expected version 1 and a username, got version ${String(version)}`);
    return {
      username,
      oidc: oidc === true,
      trust: parseTrustBundle(JSON.stringify(trust)),
      preferences: preferences as TrustPreferences | undefined,
      session: parseSession(JSON.stringify(session)),
    };
  } catch (cause) {
    throw new CliError(
      EXIT.authentication,
      `the saved session ${file} can't be read`,
      { hint: 'run: sls login' },
      { cause },
    );
  }
}

/**
 * The trust of whoever is logged in; another one where the command line names it or nobody is.
 * @param load reads what the command line names, or the usual places
 */
export async function currentTrust(
  load: () => Promise<TrustBundle>,
  { trust, server }: { trust?: string; server?: string },
): Promise<TrustBundle> {
  if (trust !== undefined || server !== undefined) return load();
  for (const file of await sessionFiles()) {
    const saved = await loadSessionIfThere(file);
    if (saved) return saved.trust;
  }
  return load();
}

/** @returns false when there was none */
export async function removeSession(file = sessionFile()): Promise<boolean> {
  return removeIfThere(file);
}
