import { DEFAULT_ENCLAVE } from '../../attestation/evidence/enclave-name';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { listEnclaves } from '../index';
import type { Session } from '../index';
import { callOptions } from './call-options';
import type { Output } from './output';

/** Says what became of the files where another workload has taken the place of the one that the session was with: who goes on works there. */
export async function tellNewEnclave(
  out: Output,
  trust: TrustBundle,
  before: Pick<Session, 'enclave'>,
  now: Session,
): Promise<void> {
  if (before.enclave.workloadUid === now.enclave.workloadUid) return;
  const name = now.enclaveName ?? DEFAULT_ENCLAVE;
  const kept = await listEnclaves(trust, now.accessToken, callOptions()).then(
    ({ enclaves }) => enclaves.find((enclave) => enclave.name === name)?.persistent,
    () => undefined,
  );
  const { text, lost } = describeRestart(name, kept);
  if (lost) out.warning(text);
  else out.note(text);
}

/** @param kept undefined: not known */
export function describeRestart(name: string, kept: boolean | undefined): { text: string; lost: boolean } {
  if (kept) return { text: `the enclave ${name} was started anew; its files are kept`, lost: false };
  const files = kept === false ? 'its workspace is empty now' : 'its workspace may be empty now';
  return { text: `the enclave ${name} was started anew: ${files}`, lost: true };
}
