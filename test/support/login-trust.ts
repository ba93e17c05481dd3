import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { signTrustBundle } from '../../attestation/trust/signed-bundle';
import { makeFakeTpm } from './evidence';
import type { FakeTpm } from './evidence';
import { makeSigningKey } from './trust';

let shared: Promise<FakeTpm> | undefined;

/** The one fake TPM of a test file: login believes it, and the enclaves of the tests have it. */
export function loginTpm(): Promise<FakeTpm> {
  shared ??= makeFakeTpm();
  return shared;
}

const trustKey = makeSigningKey('trust');
export const revocationKey = makeSigningKey('revocation');
export const licenceKey = makeSigningKey('licence');

/** A bundle that believes `loginTpm`. */
export async function loginBundle(change: Partial<TrustBundle> = {}): Promise<TrustBundle> {
  return {
    version: 1,
    sequence: 1,
    trustDomain: 'sls.test',
    trustKey: trustKey.publicKey,
    revocationKeys: { keys: [revocationKey.publicKey] },
    licenceKeys: { keys: [licenceKey.publicKey] },
    attestationRoots: [(await loginTpm()).authority.certificate],
    serverRoots: [],
    services: { signup: 'http://127.0.0.1:1', login: 'http://127.0.0.1:1' },
    policy: { softwareTpm: 'refuse' },
    ...change,
  };
}

/** Writes what login's TRUST_BUNDLE_FILE and REVOCATION_KEYS_FILE name. @returns the settings */
export async function writeTrustFiles(
  folder: string,
  change: Partial<TrustBundle> = {},
): Promise<{ TRUST_BUNDLE_FILE: string; REVOCATION_KEYS_FILE: string }> {
  const files = {
    TRUST_BUNDLE_FILE: join(folder, 'trust-bundle.jws'),
    REVOCATION_KEYS_FILE: join(folder, 'revocation-keys.json'),
  };
  await writeFile(files.TRUST_BUNDLE_FILE, await signTrustBundle(await loginBundle(change), trustKey.privateKey));
  await writeFile(files.REVOCATION_KEYS_FILE, JSON.stringify({ keys: [revocationKey.privateKey] }), { mode: 0o600 });
  return files;
}
