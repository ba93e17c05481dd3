import { readFile } from 'node:fs/promises';
import { FolderKeyStore } from '../installation/folder';
import { publishTrustBundle } from '../installation/trust';
import { parseTrustBundle } from '../attestation/trust/bundle';
import type { TrustBundle } from '../attestation/trust/bundle';
import type { Installation } from './installation';

/**
 * Writes what clients pin, plain and signed, from the installation's keys. A policy that an administrator changed stays; the sequence grows
 * when something changed. No secret is in it, so others may read it.
 */
export async function writeTrustBundle(
  { folder, record, path }: Installation,
  services: TrustBundle['services'],
): Promise<void> {
  const text = await readFile(path('trust-bundle.json'), 'utf8').catch(() => undefined);
  const policy: TrustBundle['policy'] = text === undefined ? { softwareTpm: 'allow' } : parseTrustBundle(text).policy;
  await publishTrustBundle(new FolderKeyStore(folder), { trustDomain: record.trustDomain, services, policy });
}
