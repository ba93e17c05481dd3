import { describeKey, exportSpki, sha256 } from '../crypto';
import type { PublicKey } from '../crypto';
import { TPM_ALG } from './constants';
import { TpmError } from './errors';
import { publicName } from './public';
import type { TpmPublic } from './public';

/**
 * The public area of the attestor's attestation keys up to the point (Part 2, 12.2.4): ECC with SHA-256 as name algorithm; fixedTPM, fixedParent,
 * sensitiveDataOrigin, userWithAuth, noDA, restricted, sign; no policy, no symmetric algorithm, ECDSA with SHA-256 on P-256, no KDF.
 */
const TEMPLATE = Buffer.from('0023000b00050472000000100018000b00030010', 'hex');
/** SubjectPublicKeyInfo of a P-256 key (RFC 5480) ends with the point's two numbers. */
const NUMBER_BYTES = 32;
const NUMBER_SIZE = Buffer.from([0, NUMBER_BYTES]);
const NAME_ALGORITHM = Buffer.from([TPM_ALG.SHA256 >> 8, TPM_ALG.SHA256 & 0xff]);

/** Length of a Name by SHA-256: the algorithm, then the digest (Part 1, 16). */
export const NAME_BYTES = 34;

/**
 * Name of an attestation key: what a certificate binds, and what a revocation is about (its digest is SHA-256 of the TPMT_PUBLIC).
 * @throws TpmError tpm.unsupported for another name algorithm than SHA-256
 */
export function attestationKeyName(key: TpmPublic): Buffer {
  if (key.nameAlgorithm !== TPM_ALG.SHA256)
    throw new TpmError(
      'tpm.unsupported',
      'expected an attestation key with SHA-256 as name algorithm, got another one',
    );
  return publicName(key);
}

/**
 * The Name that a P-256 key has when the attestor made it: for certificates that bind the key and not its Name.
 * @returns undefined for another kind of key
 */
export function templateName(key: PublicKey): Buffer | undefined {
  const description = describeKey(key);
  if (description.type !== 'ec' || description.curve !== 'P-256') return undefined;
  const spki = exportSpki(key);
  const [x, y] = [spki.subarray(-2 * NUMBER_BYTES, -NUMBER_BYTES), spki.subarray(-NUMBER_BYTES)];
  return Buffer.concat([NAME_ALGORITHM, sha256(TEMPLATE, NUMBER_SIZE, x, NUMBER_SIZE, y)]);
}
