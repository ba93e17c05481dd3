import { randomUUID } from 'node:crypto';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { lockFile } from '../../runtime/config/lock-file';
import { readText } from '../../runtime/text/utf8';
import { sessionOfToken } from '../identity';
import type { SessionTokens } from '../index';
import { sessionId } from '../session';
import { stateFolder } from './folders';
import { endAtService, readSession, sessionFiles } from './session-file';
import { withStateLock } from './state-lock';
import { heldTokens } from './token-file';

const FILE = /^begun-[0-9a-f-]{36}\.json$/;

const begunSchema = z.object({
  accessToken: z.string(),
  refreshToken: z.string().min(1),
  services: z.object({ signup: z.string(), login: z.string() }).loose(),
  serverRoots: z.array(z.string()),
});

/** What can end a session that began and is kept nowhere yet. Its file is locked for as long as the login that it is of goes on, and no longer, however that ends. */
interface BegunLogin {
  /** As soon as the service has answered: verification and connection are still to come. */
  note(tokens: SessionTokens): Promise<void>;
  /** @param remove false where the session is neither kept nor ended: the next login ends it */
  close(remove: boolean): Promise<void>;
}

/** To be opened before the call. Where no lock can be had, nothing is noted: nobody could tell whether the login goes on. */
export async function openBegunLogin({ services, serverRoots }: TrustBundle): Promise<BegunLogin> {
  const path = join(stateFolder(), `begun-${randomUUID()}.json`);
  const lock = await withStateLock(() => lockFile(path)).catch(() => undefined);
  return {
    async note({ accessToken, refreshToken }) {
      // In place: the lock is of this file.
      if (lock && refreshToken !== undefined)
        await writeFile(path, JSON.stringify({ accessToken, refreshToken, services, serverRoots }));
    },
    async close(remove) {
      if (remove) await rm(path, { force: true });
      await lock?.release();
    },
  };
}

/** Ends the sessions of logins that were killed before they were kept. */
export async function endKilledLogins(): Promise<void> {
  const names = (await readdir(stateFolder()).catch(() => [])).filter((name) => FILE.test(name));
  if (names.length === 0) return;
  const kept = await keptSessions();
  for (const path of names.map((name) => join(stateFolder(), name))) {
    const lock = await withStateLock(() => lockFile(path)).catch(() => undefined);
    if (!lock) continue;
    const begun = begunSchema.safeParse(
      await readText(path)
        .then(JSON.parse)
        .catch(() => undefined),
    ).data;
    // One that was killed after it was kept has left its note as well.
    if (begun && !kept.has(sessionOfToken(begun.accessToken))) await endAtService(begun, begun.refreshToken);
    await rm(path, { force: true }).catch(() => undefined);
    await lock.release();
  }
}

async function keptSessions(): Promise<Set<string | undefined>> {
  const kept = new Set([(await heldTokens())?.id]);
  for (const file of await sessionFiles()) {
    const saved = await readSession(file).catch(() => undefined);
    if (saved) kept.add(sessionId(saved.session));
  }
  return kept;
}
