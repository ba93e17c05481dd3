import type { EnclaveId } from '../../../core/enclaves/name';
import { logger } from '../../../core/log/logger';
import type { Seats } from '../../../core/seats/seats';
import type { Launcher } from '../launcher/launcher';

/** A launcher that frees the seats of the enclaves that it ends, instead of leaving them to their heartbeats. */
export function freeingSeats(launcher: Launcher, seats: Pick<Seats, 'lapse'>): Launcher {
  const free = async (user: string, enclave?: string): Promise<void> => {
    // The enclave is gone whatever becomes of this; the missing heartbeat does the same, later.
    await seats.lapse({ user, ...(enclave !== undefined && { enclave }) }).catch((err: unknown) => logger.warn({ err }, 'seats of an enclave that ended are left to their heartbeats'));
  };
  return {
    ...(launcher.image !== undefined && { image: launcher.image }),
    persistent: launcher.persistent,
    ensure: (enclave, options) => launcher.ensure(enclave, options),
    find: (user, names) => launcher.find(user, names),
    async discard(enclave: EnclaveId, found) {
      await launcher.discard(enclave, found);
      await free(enclave.user, enclave.name);
    },
    async stop(enclave) {
      await launcher.stop(enclave);
      await free(enclave.user, enclave.name);
    },
    async remove(enclave) {
      await launcher.remove(enclave);
      await free(enclave.user, enclave.name);
    },
    async removeAll(user) {
      await launcher.removeAll(user);
      await free(user);
    },
  };
}
