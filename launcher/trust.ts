import { FolderKeyStore } from '../installation/folder';
import { publishTrustBundle, readPublishedTrust } from '../installation/trust';
import type { TrustBundle } from '../attestation/trust/bundle';
import type { Installation } from './installation';

/**
 * Writes what clients pin, plain and signed, from the installation's keys. A policy that an administrator changed stays; the sequence grows
 * when something changed. No secret is in it, so others may read it.
 */
export async function writeTrustBundle(
  { folder, record }: Installation,
  services: TrustBundle['services'],
): Promise<void> {
  const store = new FolderKeyStore(folder);
  const policy = (await readPublishedTrust(store))?.bundle.policy ?? { softwareTpm: 'allow' };
  await publishTrustBundle(store, { trustDomain: record.trustDomain, services, policy });
}
