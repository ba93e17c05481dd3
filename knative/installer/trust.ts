import { chmod, readFile, writeFile } from 'node:fs/promises';
import type { JWK } from 'jose';
import { parseTrustBundle, serializeTrustBundle } from '../../core/trust/bundle';
import type { TrustBundle } from '../../core/trust/bundle';
import { publicHalf } from '../../core/trust/public-key';
import { signTrustBundle } from '../../core/trust/signed-bundle';
import { newSigningKey } from './keys';

/** Text of the file; undefined when it isn't there. */
async function readIfThere(file: string): Promise<string | undefined> {
  return readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
}

export interface Facts {
  trustDomain: string;
  attestationRoot: string;
  revocationKey: JWK;
  services: TrustBundle['services'];
  softwareTpm: 'allow' | 'refuse';
  imageDigest: string;
}

/**
 * Writes what clients pin to `file`, and signed to `file` with .jws at its end. The trust key is made where `keyFile` isn't there: it
 * signs every later bundle and never goes to the cluster. Roots, keys and boot states of the bundle that is there stay; the image
 * digest replaces the earlier one.
 */
export async function writeTrustBundle(file: string, keyFile: string, facts: Facts): Promise<void> {
  const keyText = (await readIfThere(keyFile)) ?? JSON.stringify(newSigningKey());
  await writeFile(keyFile, keyText, { mode: 0o600 });
  await chmod(keyFile, 0o600);
  const trustKey = JSON.parse(keyText) as JWK;
  const text = await readIfThere(file);
  const before = text === undefined ? undefined : parseTrustBundle(text);
  const revocationKey = await publicHalf(facts.revocationKey);
  const roots = before?.attestationRoots ?? [];
  const bundle: TrustBundle = {
    version: 1,
    sequence: before?.sequence ?? 1,
    trustDomain: facts.trustDomain,
    trustKey: await publicHalf(trustKey),
    revocationKeys: { keys: [revocationKey, ...(before?.revocationKeys.keys ?? []).filter(({ kid }) => kid !== revocationKey.kid)] },
    attestationRoots: roots.includes(facts.attestationRoot) ? roots : [facts.attestationRoot, ...roots],
    serverRoots: before?.serverRoots ?? [],
    services: facts.services,
    policy: { ...before?.policy, softwareTpm: facts.softwareTpm, imageDigests: [facts.imageDigest] },
  };
  if (text !== undefined && serializeTrustBundle(bundle) !== text) bundle.sequence += 1;
  await writeFile(file, serializeTrustBundle(bundle));
  await writeFile(`${file.replace(/\.json$/, '')}.jws`, await signTrustBundle(bundle, trustKey));
}
