import { join } from 'node:path';
import { z } from 'zod';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { sessionOfToken, userOfToken } from '../identity';
import { isTokenFresh } from '../session';
import type { SessionTokens } from '../index';
import { stateFolder } from './folders';
import { removeIfThere, writeWhole } from '../../runtime/files/whole-file';
import type { CliError } from './exit';
import { loadSessionIfThere, saveTokens, sessionFile, sessionFiles } from './session-file';
import type { SavedSession, Services } from './session-file';
import { isBadState, keepIfWritable, readState } from './state';
import { withStateLock } from './state-lock';
import { systemClock } from '../../runtime/clock';

/** Longer than a login takes to reach the service. */
const MARGIN_SECONDS = 10;

const tokensSchema = z.object({
  username: z.string(),
  oidc: z.boolean().optional(),
  accessToken: z.string().min(1),
  accessTokenExpiresAt: z.number(),
  refreshToken: z.string().min(1).optional(),
  refreshTokenExpiresAt: z.number().optional(),
  audience: z.string(),
});

/** Tokens and whose they are. */
export interface SavedTokens extends SessionTokens {
  username: string;
  /** As in SavedSession. */
  oidc?: boolean | undefined;
}

/** Where saved tokens came from, and go back to when they are renewed. */
interface FoundTokens {
  username: string;
  /** The user's id. Nobody else goes on with the session. */
  user: string | undefined;
  oidc: boolean;
  tokens: SessionTokens;
  keep(renewed: SessionTokens): Promise<void>;
}

/** The tokens that sign-up or an OpenID provider's word gave: the login by them needs no password. */
function tokenFile(): string {
  return join(stateFolder(), 'token.json');
}

/** Who may see the tokens: the services that gave them, as the client names and authenticates them, of the installation with this trust key. */
function audience({ trustKey: { x, y }, trustDomain, serverRoots, services }: TrustBundle): string {
  return JSON.stringify({ trustKey: { x, y }, trustDomain, serverRoots, services });
}

/** A session that a file holds. */
export interface HeldSession {
  /** Undefined where nothing of it says. */
  id: string | undefined;
  services: Services;
  tokens: SessionTokens;
}

/** That of the tokens file, whichever services gave it; undefined where there is none, or none that can be read. */
export async function heldTokens(): Promise<HeldSession | undefined> {
  try {
    const saved = await readTokens();
    return (
      saved && {
        id: sessionOfToken(saved.accessToken),
        services: JSON.parse(saved.audience) as Services,
        tokens: saved,
      }
    );
  } catch {
    return undefined;
  }
}

/** Keeps what renewed the tokens of `before`, where these are still there. */
export async function renewTokenFile(trust: TrustBundle, before: SavedTokens, renewed: SessionTokens): Promise<void> {
  await withStateLock(async () => {
    const there = await heldTokens();
    if (there?.id === sessionOfToken(before.accessToken)) await saveTokenFile(trust, { ...before, ...renewed });
  });
}

/** Under the lock of the state. */
export async function saveTokenFile(trust: TrustBundle, tokens: SavedTokens): Promise<void> {
  await writeWhole(tokenFile(), JSON.stringify({ ...tokens, audience: audience(trust) }));
}

export async function removeTokenFile(): Promise<boolean> {
  return removeIfThere(tokenFile());
}

export function isFresh(expiresAt: number): boolean {
  return expiresAt - MARGIN_SECONDS > systemClock.now() / 1000;
}

export function isAccessFresh(expiresAt: number): boolean {
  return isTokenFresh(expiresAt, systemClock.now() / 1000, MARGIN_SECONDS);
}

/** The tokens that sign-up gave, where they are of these services. */
export async function readTokenFile(trust: TrustBundle): Promise<SavedTokens | undefined> {
  const saved = await readTokens();
  if (saved === undefined) return undefined;
  const { audience: of, ...tokens } = saved;
  return of === audience(trust) ? tokens : undefined;
}

async function readTokens(): Promise<z.infer<typeof tokensSchema> | undefined> {
  const place = {
    file: tokenFile(),
    what: 'the saved tokens',
    heal: 'sls login begins another session in their place; sls logout removes them',
  };
  return readState(place, (text) => tokensSchema.parse(JSON.parse(text)));
}

/** The saved session, where it is of these services. @param file left out: that of the enclave that this command is about */
export async function sessionOf(trust: TrustBundle, file = sessionFile()): Promise<SavedSession | undefined> {
  const saved = await loadSessionIfThere(file).catch(() => undefined);
  return saved && audience(saved.trust) === audience(trust) ? saved : undefined;
}

/**
 * Tokens that are still good, of these services and of this user (of anyone, when no username is given).
 * @param anyEnclave also those of the logins to other enclaves: for what is about the account. Two logins never share a refresh token
 * @param onBadState told of tokens that can't be read; left out: that is an error, where there are no others
 * @throws CliError 4 that names the file
 */
export async function findTokens(
  trust: TrustBundle,
  username: string | undefined,
  { anyEnclave = false, onBadState }: { anyEnclave?: boolean; onBadState?: (error: CliError) => void } = {},
): Promise<FoundTokens | undefined> {
  const candidates: FoundTokens[] = [];
  let bad: CliError | undefined;
  const first = await readTokenFile(trust).catch((error: unknown) => {
    if (!isBadState(error)) throw error;
    bad = error;
    return undefined;
  });
  if (first)
    candidates.push({
      username: first.username,
      user: userOfToken(first.accessToken),
      oidc: first.oidc === true,
      tokens: first,
      keep: (renewed) => keepIfWritable(() => renewTokenFile(trust, first, renewed)),
    });
  for (const file of anyEnclave ? await sessionFiles() : [sessionFile()]) {
    const saved = await sessionOf(trust, file);
    if (saved)
      candidates.push({
        username: saved.username,
        user: saved.session.enclave.user,
        oidc: saved.oidc === true,
        tokens: saved.session,
        keep: (renewed) => keepIfWritable(() => saveTokens(saved, renewed, file)),
      });
  }
  const good = candidates.filter(
    ({ tokens, username: of }) => (username === undefined || of === username) && isGood(tokens),
  );
  // An access token alone is of a session whose refresh token is elsewhere, and may be over by now.
  const found = good.find(({ tokens }) => tokens.refreshToken !== undefined) ?? good[0];
  if (bad && onBadState) onBadState(bad);
  else if (bad && !found) throw bad;
  return found;
}

function isGood({ accessTokenExpiresAt, refreshToken, refreshTokenExpiresAt = 0 }: SessionTokens): boolean {
  return refreshToken === undefined ? isFresh(accessTokenExpiresAt) : isFresh(refreshTokenExpiresAt);
}
