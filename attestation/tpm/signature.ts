import { describeKey, verifyEcdsa } from '../crypto';
import type { PublicKey } from '../crypto';
import { hashName, hex16, TPM_ALG } from './constants';
import { parseWhole, TpmError } from './errors';

/** TPMT_SIGNATURE (Part 2, 11.3.4). `hash` is a TPM_ALG_ID. */
type TpmSignature =
  | { algorithm: 'ecdsa'; hash: number; /** Big-endian, leading zeros stripped. */ r: Buffer; s: Buffer }
  | { algorithm: 'rsassa'; hash: number; signature: Buffer };

/** Coordinates of the largest curve that is taken (P-384), and the largest RSA key. */
const MAX_ECC_BYTES = 48;
const MAX_RSA_BYTES = 512;

/** @throws TpmError */
export function parseSignature(bytes: Uint8Array): TpmSignature {
  return parseWhole(bytes, 'TPMT_SIGNATURE', (reader) => {
    const algorithm = reader.u16();
    if (algorithm !== TPM_ALG.ECDSA && algorithm !== TPM_ALG.RSASSA) {
      throw new TpmError('tpm.unsupported', `TPMT_SIGNATURE: expected ECDSA or RSASSA, got ${hex16(algorithm)}`);
    }
    const hash = reader.u16();
    if (hashName(hash) === undefined) {
      throw new TpmError('tpm.unsupported', `TPMT_SIGNATURE: expected SHA-256, SHA-384 or SHA-512, got ${hex16(hash)}`);
    }
    const number = (max: number): Buffer => {
      const value = reader.sized();
      if (value.length === 0 || value.length > max) {
        throw new TpmError('tpm.invalid', `TPMT_SIGNATURE: expected numbers of 1 to ${max} bytes, got ${value.length}`);
      }
      return value;
    };
    if (algorithm === TPM_ALG.RSASSA) return { algorithm: 'rsassa', hash, signature: number(MAX_RSA_BYTES) };
    return { algorithm: 'ecdsa', hash, r: stripZeros(number(MAX_ECC_BYTES)), s: stripZeros(number(MAX_ECC_BYTES)) };
  });
}

/**
 * Verifies an ECDSA P-256 SHA-256 signature over `data`. Other algorithms, and keys of another kind than the signature's, are an error:
 * what is signed is decided here and not by whoever sends it.
 * @returns whether the signature holds
 * @throws TpmError tpm.unsupported
 */
export function verifyEcdsaP256(key: PublicKey, signature: TpmSignature, data: Uint8Array): boolean {
  const description = describeKey(key);
  if (description.type !== 'ec' || description.curve !== 'P-256') {
    const got = description.type === 'ec' ? (description.curve ?? 'another curve') : description.type;
    throw new TpmError('tpm.unsupported', `expected a P-256 key, got ${got}`);
  }
  if (signature.algorithm !== 'ecdsa' || signature.hash !== TPM_ALG.SHA256) {
    throw new TpmError(
      'tpm.unsupported',
      `expected an ECDSA signature with SHA-256, got ${signature.algorithm} with ${hashName(signature.hash)}`,
    );
  }
  if (signature.r.length > 32 || signature.s.length > 32) return false;
  return verifyEcdsa(key, data, Buffer.concat([padTo32(signature.r), padTo32(signature.s)]));
}

/** A TPM may write a number with fewer bytes than the curve has; IEEE P1363 wants them all. */
function padTo32(number: Buffer): Buffer {
  return Buffer.concat([Buffer.alloc(32 - number.length), number]);
}

function stripZeros(number: Buffer): Buffer {
  const first = number.findIndex((byte) => byte !== 0);
  return first === -1 ? number.subarray(number.length - 1) : number.subarray(first);
}
