import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseTrustBundle } from '../../core/trust/bundle';
import type { TrustBundle } from '../../core/trust/bundle';
import { parseSession, serializeSession } from '../index';
import type { Session, SessionTokens } from '../index';
import { CliError, EXIT } from './exit';
import { stateFolder } from './folders';
import { removeIfThere, writePrivate } from './private-file';
import type { TrustPreferences } from './trust';

/** What is kept between commands: the session's keys and tokens, and what it was verified against. */
export interface SavedSession {
  username: string;
  /** As it was at login, with that login's policy: later commands demand the same. */
  trust: TrustBundle;
  /** What that login wanted otherwise than the operator's bundle says: put over newer bundles as well. */
  preferences?: TrustPreferences;
  session: Session;
}

export function sessionFile(): string {
  return join(stateFolder(), 'session.json');
}

/** Replaces the saved session. */
export async function saveSession({ username, trust, preferences = {}, session }: SavedSession): Promise<void> {
  await writePrivate(sessionFile(), JSON.stringify({ version: 1, username, trust, preferences, session: JSON.parse(serializeSession(session)) as unknown }));
}

/** Replaces the tokens of the saved session: the refresh token that was used for them is worth nothing any more. */
export async function saveTokens(saved: SavedSession, tokens: SessionTokens): Promise<SavedSession> {
  const renewed = { ...saved, session: { ...saved.session, ...tokens } };
  await saveSession(renewed);
  return renewed;
}

/**
 * Saves what became of a session. Not where another process has renewed it meanwhile: the service believes that one's tokens.
 * @param before as it was loaded
 */
export async function saveRenewed(before: SavedSession, renewed: Pick<SavedSession, 'trust' | 'session'>): Promise<void> {
  const there = (await loadSessionIfThere().catch(() => undefined))?.session.refreshToken;
  const known = [before.session.refreshToken, renewed.session.refreshToken];
  if (there === undefined || known.includes(there)) await saveSession({ ...before, ...renewed });
}

/** @throws CliError 4 when nobody is logged in */
export async function loadSession(): Promise<SavedSession> {
  const saved = await loadSessionIfThere();
  if (!saved) throw new CliError(EXIT.authentication, 'not logged in', { hint: 'run: sls login' });
  return saved;
}

export async function loadSessionIfThere(): Promise<SavedSession | undefined> {
  const text = await readFile(sessionFile(), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  try {
    const { version, username, trust, preferences, session } = JSON.parse(text) as Record<string, unknown>;
    if (version !== 1 || typeof username !== 'string') throw new TypeError(`expected version 1 and a username, got version ${String(version)}`);
    return { username, trust: parseTrustBundle(JSON.stringify(trust)), preferences: preferences as TrustPreferences | undefined, session: parseSession(JSON.stringify(session)) };
  } catch (cause) {
    throw new CliError(EXIT.authentication, `the saved session ${sessionFile()} can't be read`, { hint: 'run: sls login' }, { cause });
  }
}

/**
 * The trust of whoever is logged in; another one where the command line names it or nobody is.
 * @param load reads what the command line names, or the usual places
 */
export async function currentTrust(load: () => Promise<TrustBundle>, { trust, server }: { trust?: string; server?: string }): Promise<TrustBundle> {
  const saved = trust === undefined && server === undefined ? await loadSessionIfThere() : undefined;
  return saved?.trust ?? load();
}

/** @returns false when there was none */
export async function removeSession(): Promise<boolean> {
  return removeIfThere(sessionFile());
}
