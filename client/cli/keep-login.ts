import type { TrustBundle } from '../../attestation/trust/bundle';
import { sessionOfToken } from '../identity';
import { sessionId } from '../session';
import { endAtService, readSession, removeSession, saveSession, sessionFile, sessionFiles } from './session-file';
import type { SavedSession } from './session-file';
import { withStateLock } from './state-lock';
import { heldTokens, removeTokenFile, saveTokenFile } from './token-file';
import type { HeldSession, SavedTokens } from './token-file';

/**
 * Keeps a login, in the place of the session that its enclave's file held, and of the tokens file. What these held is ended: nothing here could end it later. Of
 * logins at once each ends what it took the place of, so that one session is left, the one that is kept.
 */
export async function keepLogin(login: SavedSession): Promise<void> {
  const displaced = await withStateLock(async () => {
    const held = [await heldSession(sessionFile()), await heldTokens()];
    await saveSession(login);
    await removeTokenFile();
    return held;
  });
  await endDisplaced(displaced, sessionId(login.session));
}

/** Keeps the tokens of a session that has just begun, before any login, and ends the session whose tokens they take the place of. */
export async function keepTokens(trust: TrustBundle, tokens: SavedTokens): Promise<void> {
  const displaced = await withStateLock(async () => {
    const held = await heldTokens();
    await saveTokenFile(trust, tokens);
    return held;
  });
  await endDisplaced([displaced], sessionOfToken(tokens.accessToken));
}

/**
 * Removes the login to an enclave that is no more, and ends its session, unless logins to other enclaves go on with that: then one of these has its tokens.
 * @returns false where there was none
 */
export async function dropLogin(file: string): Promise<boolean> {
  const { removed, held } = await withStateLock(async () => {
    const gone = await heldSession(file);
    const there = await removeSession(file);
    return { removed: there, held: gone && (await inherit(gone)) ? undefined : gone };
  });
  if (held) await end(held);
  return removed;
}

async function heldSession(file: string): Promise<HeldSession | undefined> {
  const saved = await readSession(file).catch(() => undefined);
  if (!saved) return undefined;
  const { accessToken, accessTokenExpiresAt, refreshToken, refreshTokenExpiresAt } = saved.session;
  const tokens = { accessToken, accessTokenExpiresAt, refreshToken, refreshTokenExpiresAt };
  return { id: sessionId(saved.session), services: saved.trust, tokens };
}

/** Where it is not known whether two are one session, nothing ends. */
async function endDisplaced(displaced: Array<HeldSession | undefined>, goesOn: string | undefined): Promise<void> {
  const known = displaced.filter((held) => held?.id !== undefined && goesOn !== undefined && held.id !== goesOn);
  await Promise.all(known.map((held) => held && end(held)));
}

async function end({ services, tokens: { refreshToken } }: HeldSession): Promise<void> {
  if (refreshToken !== undefined) await endAtService(services, refreshToken);
}

async function inherit({ id, tokens }: HeldSession): Promise<boolean> {
  if (tokens.refreshToken === undefined) return true;
  for (const file of await sessionFiles()) {
    const saved = await readSession(file).catch(() => undefined);
    if (!saved || saved.session.refreshToken !== undefined || sessionId(saved.session) !== id) continue;
    await saveSession({ ...saved, session: { ...saved.session, ...tokens } }, file);
    return true;
  }
  return false;
}
