import type { Seats } from '../../../licensing/seats/seats';
import type { Enclave, Launcher } from '../launcher/launcher';
import type { EnclaveId } from '../../../attestation/evidence/enclave-name';
import { silent } from '../../../runtime/log/log';
import type { Logger } from '../../../runtime/log/log';

/** A launcher that frees the seats of the enclaves that it ends, instead of leaving them to their heartbeats. */
export function withSeatRelease(launcher: Launcher, seats: Pick<Seats, 'lapse'>, log: Logger = silent): Launcher {
  const free = async (which: Parameters<Seats['lapse']>[0]): Promise<void> => {
    // The enclave is gone whatever becomes of this; the missing heartbeat does the same, later.
    await seats
      .lapse(which)
      .catch((err: unknown) => log.warn({ err }, 'seats of an enclave that ended are left to their heartbeats'));
  };
  // Whatever else a launcher has is left as it is.
  return Object.assign(Object.create(launcher) as Launcher, {
    async discard(enclave: EnclaveId, found: Enclave): Promise<void> {
      await launcher.discard(enclave, found);
      // It may be another one by now, whose sessions go on.
      await free({ user: enclave.user, enclave: enclave.name, workloadUid: found.workloadUid });
    },
    async stop(enclave: EnclaveId): Promise<void> {
      await launcher.stop(enclave);
      await free({ user: enclave.user, enclave: enclave.name });
    },
    async remove(enclave: EnclaveId): Promise<void> {
      await launcher.remove(enclave);
      await free({ user: enclave.user, enclave: enclave.name });
    },
    async removeAll(user: string): Promise<void> {
      await launcher.removeAll(user);
      await free({ user });
    },
  });
}
