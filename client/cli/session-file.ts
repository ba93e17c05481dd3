import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { DEFAULT_ENCLAVE } from '../../attestation/evidence/enclave-name';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { fingerprint, isSameKey } from '../../attestation/trust/public-key';
import type { SignedTrust } from '../../attestation/trust/signed-bundle';
import { deadline } from '../../runtime/rpc/deadline';
import { logOut, parseSession, serializeSession } from '../index';
import { sessionId } from '../session';
import type { Session, SessionTokens } from '../index';
import { callOptions } from './call-options';
import { chosenEnclave } from './chosen-enclave';
import { CliError, EXIT } from './exit';
import { stateFolder } from './folders';
import { removeIfThere, writeWhole } from '../../runtime/files/whole-file';
import { retryAfterRaces } from './race';
import { readState } from './state';
import { withStateLock } from './state-lock';
import { applyPreferences, newestTrust, readSignedTrust, standingTrust } from './trust';
import type { TrustPreferences } from './trust';
import { TrustMemory } from './trust-memory';

/** What is kept between commands: the session's keys and tokens, and what it was verified against. */
export interface SavedSession {
  username: string;
  /** Began at the OpenID provider: so does the next one. */
  oidc?: boolean | undefined;
  /** The newest that is known of the login's installation, with that login's policy: later commands demand the same. */
  trust: TrustBundle;
  /** That bundle as its operator signed it. */
  signedTrust: string;
  /** The login named it with --trust: whatever else is trusted on this machine, the session is of that installation. */
  trustNamed?: boolean | undefined;
  /** What that login wanted otherwise than the operator's bundle says: put over newer bundles as well. */
  preferences?: TrustPreferences;
  session: Session;
}

/** Where a session's service is, and by which roots it is known. */
export type Services = Pick<TrustBundle, 'services' | 'serverRoots'>;

const SESSION_FILE = /^session(?:-([a-z0-9-]+))?\.json$/;

/** Where the login to an enclave is kept, each by itself. */
export function sessionFile(enclave = chosenEnclave()): string {
  return join(stateFolder(), enclave === DEFAULT_ENCLAVE ? 'session.json' : `session-${enclave}.json`);
}

/** Of every enclave with a login on this machine, the one that this command is about first. */
export async function sessionFiles(): Promise<string[]> {
  const there = await readdir(stateFolder()).catch(() => []);
  const files = there.filter((name) => SESSION_FILE.test(name)).sort();
  const first = basename(sessionFile());
  return [first, ...files.filter((name) => name !== first)].map((name) => join(stateFolder(), name));
}

/** Replaces a saved session. @param file where it was loaded from; left out: that of the enclave that this command is about */
export async function saveSession(
  { username, oidc, signedTrust, trustNamed, preferences = {}, session }: SavedSession,
  file = sessionFile(),
): Promise<void> {
  await writeWhole(
    file,
    JSON.stringify({
      version: 2,
      username,
      oidc,
      trust: signedTrust,
      trustNamed,
      preferences,
      session: JSON.parse(serializeSession(session)) as unknown,
    }),
  );
}

/** Replaces the tokens of the saved session: the refresh token that was used for them is worth nothing any more. */
export async function saveTokens(saved: SavedSession, tokens: SessionTokens, file = sessionFile()): Promise<void> {
  await changeSession(saved, file, (there) => ({ ...there, session: { ...there.session, ...tokens } }));
}

/**
 * Saves what became of a session. Not where another process has renewed it meanwhile: the service believes that one's tokens.
 * @param before as it was loaded
 */
export async function saveRenewed(
  before: SavedSession,
  renewed: Pick<SavedSession, 'trust' | 'signedTrust' | 'session'>,
): Promise<void> {
  const known = [undefined, before.session.refreshToken, renewed.session.refreshToken];
  await changeSession(before, sessionFile(), ({ session: { refreshToken } }) =>
    known.includes(refreshToken) ? { ...before, ...renewed } : undefined,
  );
}

/**
 * Changes a saved session where it is still there: a login may have put another one in its place meanwhile, whose tokens would be lost, and after a logout nothing
 * comes back.
 * @param change gets what is there now; undefined changes nothing
 */
export async function changeSession(
  saved: SavedSession,
  file: string,
  change: (there: SavedSession) => SavedSession | undefined,
): Promise<void> {
  await withStateLock(async () => {
    const there = await readSession(file).catch(() => saved);
    const changed = there && sessionId(there.session) === sessionId(saved.session) ? change(there) : undefined;
    if (changed) await saveSession(changed, file);
  });
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

/**
 * @throws CliError 4 where it can't be read; session.other_installation: it was with an installation that is not the one which is trusted now, and is ended;
 *   trust.… where its trust bundle is none that is believed
 */
export async function loadSessionIfThere(file = sessionFile()): Promise<SavedSession | undefined> {
  const saved = await readSession(file);
  if (saved) await endIfForeign(saved, file);
  return saved;
}

/** As it is, whatever is trusted now: to end it. */
export async function readSession(file: string): Promise<SavedSession | undefined> {
  return readState({ file, what: 'the saved session', heal: healOf(file) }, async (text) => {
    const json = JSON.parse(text) as Record<string, unknown>;
    const { version, username, oidc, trust, trustNamed, session } = json;
    if (version !== 2 || typeof username !== 'string')
      throw new TypeError(`expected version 2 and a username, got version ${String(version)}`);
    const preferences = json['preferences'] as TrustPreferences | undefined;
    const { bundle, signed } = await newestTrust(await readSavedTrust(file, trust));
    return {
      username,
      oidc: oidc === true,
      trust: applyPreferences(bundle, preferences ?? {}),
      signedTrust: signed,
      trustNamed: trustNamed === true,
      preferences,
      session: parseSession(JSON.stringify(session)),
    };
  });
}

/** @throws CliError trust.… where it is one that is not believed; TypeError where it is none */
async function readSavedTrust(file: string, trust: unknown): Promise<SignedTrust> {
  try {
    return await readSignedTrust(file, String(trust));
  } catch (error) {
    if (error instanceof CliError && error.details.code === 'trust.malformed') throw new TypeError(error.message);
    throw error;
  }
}

/** The login that begins another one in its place. */
function healOf(file: string): string {
  const [, enclave] = SESSION_FILE.exec(basename(file)) ?? [];
  return `run: sls login${enclave === undefined ? '' : ` --enclave ${enclave}`}`;
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
  return (await sessionTrust())?.bundle ?? load();
}

/** The trust of whoever is logged in. */
export async function sessionTrust(): Promise<SignedTrust | undefined> {
  for (const file of await sessionFiles()) {
    const saved = await loadSessionIfThere(file);
    if (saved) return { bundle: saved.trust, signed: saved.signedTrust };
  }
  return undefined;
}

/** Ends all that are with an installation which is trusted no longer, for a command that begins another one. */
export async function endForeignSessions(tell: (message: string) => void): Promise<void> {
  for (const file of await sessionFiles()) {
    try {
      await loadSessionIfThere(file);
    } catch (error) {
      // What can't be read is told by the command that needs it.
      if (error instanceof CliError && error.details.code === OTHER_INSTALLATION) tell(error.message);
    }
  }
}

const OTHER_INSTALLATION = 'session.other_installation';
/** The service may be gone. */
const END_TIMEOUT_MS = 5_000;

/**
 * Ends a saved session: here, where a login has not put another one in its place, and on its service.
 * @returns false where the service could not be told: it ends there when it stays unused
 */
export async function endSession(saved: SavedSession, file: string): Promise<boolean> {
  const { trust, session } = saved;
  // First: whatever the service says, nothing stays here.
  await withStateLock(async () => {
    const there = await readSession(file).catch(() => saved);
    if (there && sessionId(there.session) === sessionId(session)) await removeSession(file);
  });
  return session.refreshToken === undefined || endAtService(trust, session.refreshToken);
}

/**
 * Ends a session that nothing here holds any more. One whose token another command has just used is asked for again, until it is known who has the next one.
 * @returns false where the service could not be told
 */
export async function endAtService(trust: Services, refreshToken: string): Promise<boolean> {
  const end = async (): Promise<void> => {
    const { signal, clear } = deadline(END_TIMEOUT_MS);
    try {
      await logOut(trust, refreshToken, { ...callOptions(), signal });
    } finally {
      clear();
    }
  };
  try {
    await retryAfterRaces(end);
    return true;
  } catch {
    return false;
  }
}

/** A session is of one installation. One that is trusted no longer, or was never meant, gets nothing more of this person's. */
async function endIfForeign(saved: SavedSession, file: string): Promise<void> {
  const standing = await standingTrust();
  const { trustKey, trustDomain } = saved.trust;
  const isTrusted =
    saved.trustNamed === true || standing === undefined
      ? await (await TrustMemory.of(saved.trust)).isCompared()
      : isSameKey(standing.bundle.trustKey, trustKey);
  if (isTrusted) return;
  const told = await endSession(saved, file);
  const now =
    standing === undefined
      ? 'no installation'
      : `${standing.bundle.trustDomain} (trust key ${await fingerprint(standing.bundle.trustKey)})`;
  throw new CliError(
    EXIT.authentication,
    `the session of ${saved.username} at ${trustDomain} (trust key ${await fingerprint(trustKey)}) is ended: ${now} is now trusted${told ? '' : '; its service could not be told'}`,
    { code: OTHER_INSTALLATION, hint: 'nothing of yours was sent. Log in again: sls login' },
  );
}

/** @returns false when there was none */
export async function removeSession(file = sessionFile()): Promise<boolean> {
  return removeIfThere(file);
}
