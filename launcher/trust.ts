import { readFile } from 'node:fs/promises';
import type { JWK } from 'jose';
import { parseTrustBundle, serializeTrustBundle } from '../core/trust/bundle';
import type { TrustBundle } from '../core/trust/bundle';
import { publicHalf } from '../core/trust/public-key';
import { signTrustBundle } from '../core/trust/signed-bundle';
import { readIfThere, writeWhole } from './files';
import type { Installation } from './installation';

/**
 * Writes what clients pin, plain and signed. Policy, roots and keys that were added to it stay; its sequence grows when something changed.
 * No secret is in it, so others may read it.
 */
export async function writeTrustBundle({ record, path }: Installation, services: TrustBundle['services']): Promise<void> {
  const file = path('trust-bundle.json');
  const text = await readIfThere(file);
  const before = text === undefined ? undefined : parseTrustBundle(text);
  const trustKey = JSON.parse(await readFile(path('keys', 'trust-key.json'), 'utf8')) as JWK;
  const revocationKey = await publicHalf(JSON.parse(await readFile(path('keys', 'revocation-key.json'), 'utf8')) as JWK);
  const bundle: TrustBundle = {
    policy: { softwareTpm: 'allow' },
    ...before,
    version: 1,
    sequence: before?.sequence ?? 1,
    trustDomain: record.trustDomain,
    trustKey: await publicHalf(trustKey),
    revocationKeys: { keys: [revocationKey, ...(before?.revocationKeys.keys ?? []).filter(({ kid }) => kid !== revocationKey.kid)] },
    attestationRoots: await withRoot(before?.attestationRoots, path('keys', 'attestation-ca.crt')),
    serverRoots: await withRoot(before?.serverRoots, path('keys', 'server-ca.crt')),
    services,
  };
  if (before && serializeTrustBundle(bundle) !== text) bundle.sequence++;
  await writeWhole(file, serializeTrustBundle(bundle), 0o644);
  await writeWhole(path('trust-bundle.jws'), await signTrustBundle(bundle, trustKey), 0o644);
}

async function withRoot(roots: string[] = [], file: string): Promise<string[]> {
  const root = await readFile(file, 'utf8');
  return roots.includes(root) ? roots : [...roots, root];
}
