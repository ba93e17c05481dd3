import type { EnclaveRegistry } from '../../licensing/enclaves/enclaves';
import { RpcError } from '../../runtime/rpc/errors';
import type { Launcher } from './launcher/launcher';
import type { EnclaveId } from '../../attestation/evidence/enclave-name';
import { systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';

/** Whoever deletes an enclave has so long, before a login that waits for its name does it for them. */
const DELETION_MS = 20_000;
const AGAIN_MS = 500;

export interface RegistrationOptions {
  enclaves: EnclaveRegistry;
  launcher: Launcher;
  enclaveLimit(user: string): Promise<number>;
  signal: AbortSignal;
  /** Silent, unless told. */
  log?: Logger;
  /** The system's, unless told. */
  clock?: Clock;
  deletionMs?: number | undefined;
}

/**
 * Does what starts an enclave between its two notes in the registry: before, that the user has one of this name; after, that it was used. What is started
 * while it, or its user, is deleted is removed again. A new one that fails leaves nothing behind; one whose login was given up goes on starting.
 * @throws RpcError as EnclaveRegistry.claim and EnclaveRegistry.used; what `start` throws
 */
export async function withEnclaveRegistration<T>(
  options: RegistrationOptions,
  id: EnclaveId,
  start: () => Promise<T>,
): Promise<T> {
  const { enclaves, launcher, signal, log = silent } = options;
  const isNew = await claim(options, id);
  try {
    const started = await start();
    await enclaves.used(id);
    return started;
  } catch (error) {
    await tidy().catch((err: unknown) =>
      log.warn({ err, user: id.user }, 'an enclave that nobody has was not removed'),
    );
    throw error;
  }

  async function tidy(): Promise<void> {
    if (isNew && !signal.aborted && (await enclaves.abandon(id, (enclave) => launcher.remove(enclave)))) return;
    if (!(await enclaves.has(id))) await launcher.remove(id);
  }
}

/** A name that is being deleted is free soon. Where whoever deletes it doesn't come to the end, it is done here. */
async function claim(
  {
    enclaves,
    launcher,
    enclaveLimit,
    signal,
    deletionMs = DELETION_MS,
    clock = systemClock,
    log = silent,
  }: RegistrationOptions,
  id: EnclaveId,
): Promise<boolean> {
  const patientUntil = clock.now() + deletionMs;
  for (;;) {
    try {
      return await enclaves.claim(id, () => enclaveLimit(id.user));
    } catch (error) {
      if (!(error instanceof RpcError) || error.code !== 'enclave.being_deleted') throw error;
      if (clock.now() >= patientUntil) {
        const resumed = await enclaves
          .resumeDeletion(id, (enclave) => launcher.remove(enclave), deletionMs / 1000)
          .catch((cause: unknown) => {
            log.error({ err: cause, user: id.user }, 'an enclave is not removed yet');
            throw error;
          });
        if (resumed) continue;
      }
      await clock.sleep(AGAIN_MS, signal);
    }
  }
}
