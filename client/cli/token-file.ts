import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TrustBundle } from '../../core/trust/bundle';
import { stateFolder } from './folders';
import { removeIfThere, writePrivate } from './private-file';
import { loadSessionIfThere } from './session-file';

/** Longer than a login takes to reach the service. */
const MARGIN_SECONDS = 10;

/** An access token and whose it is. */
export interface SavedToken {
  username: string;
  accessToken: string;
  /** Unix seconds. */
  expiresAt: number;
}

/** The token that sign-up gave: the first login needs no password. */
function tokenFile(): string {
  return join(stateFolder(), 'token.json');
}

/** Who may see the token: the services that gave it, as the client names and authenticates them. */
function audience({ trustDomain, serverRoots, services }: TrustBundle): string {
  return JSON.stringify({ trustDomain, serverRoots, services });
}

export async function saveToken(trust: TrustBundle, token: SavedToken): Promise<void> {
  await writePrivate(tokenFile(), JSON.stringify({ ...token, audience: audience(trust) }));
}

export async function removeToken(): Promise<boolean> {
  return removeIfThere(tokenFile());
}

export function isFresh(expiresAt: number): boolean {
  return expiresAt - MARGIN_SECONDS > Date.now() / 1000;
}

/** A token that is still good, of these services and of this user (of anyone, when no username is given). */
export async function findToken(trust: TrustBundle, username: string | undefined): Promise<SavedToken | undefined> {
  const candidates: Array<SavedToken & { audience: string }> = [];
  const text = await readFile(tokenFile(), 'utf8').catch(() => undefined);
  if (text !== undefined) candidates.push(JSON.parse(text) as SavedToken & { audience: string });
  const saved = await loadSessionIfThere().catch(() => undefined);
  if (saved) {
    const { accessToken, accessTokenExpiresAt } = saved.session;
    candidates.push({ username: saved.username, accessToken, expiresAt: accessTokenExpiresAt, audience: audience(saved.trust) });
  }
  return candidates.find(
    (token) => isFresh(token.expiresAt) && token.audience === audience(trust) && (username === undefined || token.username === username),
  );
}
