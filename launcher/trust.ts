import { FolderKeyStore } from '../installation/folder';
import { publishTrustBundle, readPublishedTrust } from '../installation/trust';
import type { TrustBundle } from '../attestation/trust/bundle';
import type { Installation } from './installation';
import type { TpmChoice } from './tpm';

interface TrustChoices {
  services: TrustBundle['services'];
  tpm: TpmChoice;
  /** Left out: as it is; in the first bundle `allow` for the installation's own software TPM, and `refuse` for a TPM that was given. */
  softwareTpm?: TrustBundle['policy']['softwareTpm'] | undefined;
}

/**
 * Writes what clients pin, plain and signed, from the installation's keys. A policy that an administrator changed stays; the sequence grows
 * when something changed. No secret is in it, so others may read it.
 * @returns the policy
 */
export async function writeTrustBundle(
  { folder, record }: Installation,
  { services, tpm, softwareTpm }: TrustChoices,
): Promise<TrustBundle['policy']> {
  const store = new FolderKeyStore(folder);
  const before = (await readPublishedTrust(store))?.bundle.policy;
  const policy = {
    ...before,
    softwareTpm: softwareTpm ?? before?.softwareTpm ?? (tpm.kind === 'software' ? 'allow' : 'refuse'),
  };
  return (await publishTrustBundle(store, { trustDomain: record.trustDomain, services, policy })).policy;
}
