import { sha256 } from '../crypto';
import { TpmError } from './errors';
import { parsePublic } from './public';
import type { TpmPublic } from './public';

/**
 * What stands before the modulus or the point in the default templates L-1 (RSA 2048) and L-2 (ECC NIST P-256) of the TCG EK Credential
 * Profile, B.3.3 and B.3.4: SHA-256, restricted decryption with policy PolicyA (TPM2_PolicySecret of the endorsement hierarchy), AES-128-CFB.
 */
const AREA = '000b000300b20020837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa0006008000430010';
const RSA_2048 = Buffer.from(`0001${AREA}0800000000000100`, 'hex');
const ECC_P256 = Buffer.from(`0023${AREA}00030010`, 'hex');
const COORDINATE_SIZE = Buffer.from([0, 32]);

/**
 * Parses the TPMT_PUBLIC of an endorsement key. It must be the default template's, byte for byte: then one key has one public area and one hash
 * (`endorsementKeyHash`), and nobody gets a second identity for a TPM by writing its key in another way.
 * @throws TpmError
 */
export function parseEndorsementKey(bytes: Uint8Array): TpmPublic {
  const key = parsePublic(bytes);
  const expected =
    key.type === 'rsa'
      ? Buffer.concat([RSA_2048, key.modulus])
      : Buffer.concat([ECC_P256, COORDINATE_SIZE, key.x, COORDINATE_SIZE, key.y]);
  if (!expected.equals(bytes)) {
    throw new TpmError(
      'tpm.unsupported',
      'expected an endorsement key of the default templates L-1 (RSA 2048) or L-2 (ECC P-256), got another one',
    );
  }
  return key;
}

/** SHA-256 of the endorsement key's TPMT_PUBLIC, hex: what a TPM is known by. */
export function endorsementKeyHash(ek: TpmPublic): string {
  return sha256(ek.bytes).toString('hex');
}
