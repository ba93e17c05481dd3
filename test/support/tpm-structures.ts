import { sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import {
  TPM_ALG,
  TPM_ECC_CURVE,
  TPM_GENERATED_VALUE,
  TPM_ST_ATTEST_QUOTE,
  TPMA_OBJECT,
} from '../../attestation/tpm/constants';
import { QUOTED_PCRS } from '../../attestation/tpm/pcr';

/** Writers of TPM structures for tests: whatever the options say, also what no TPM would make. */

export const u8 = (value: number): Buffer => Buffer.from([value]);
export const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}
export function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}
export const sized = (bytes: Uint8Array): Buffer => Buffer.concat([u16(bytes.length), bytes]);

/** What a genuine attestation key has. */
export const AK_ATTRIBUTES =
  TPMA_OBJECT.restricted |
  TPMA_OBJECT.sign |
  TPMA_OBJECT.fixedTPM |
  TPMA_OBJECT.fixedParent |
  TPMA_OBJECT.sensitiveDataOrigin |
  TPMA_OBJECT.userWithAuth |
  TPMA_OBJECT.noDA;

export interface EccPublicOptions {
  attributes?: number;
  nameAlgorithm?: number;
  curve?: number;
  scheme?: number;
  hash?: number;
  x?: Buffer;
  y?: Buffer;
}

/** TPMT_PUBLIC of an EC key, by default as an attestation key's. */
export function encodeEccPublic(key: KeyObject, options: EccPublicOptions = {}): Buffer {
  const jwk = key.export({ format: 'jwk' });
  return Buffer.concat([
    u16(TPM_ALG.ECC),
    u16(options.nameAlgorithm ?? TPM_ALG.SHA256),
    u32(options.attributes ?? AK_ATTRIBUTES),
    sized(Buffer.alloc(0)),
    u16(TPM_ALG.NULL),
    u16(options.scheme ?? TPM_ALG.ECDSA),
    u16(options.hash ?? TPM_ALG.SHA256),
    u16(options.curve ?? TPM_ECC_CURVE.P256),
    u16(TPM_ALG.NULL),
    sized(options.x ?? Buffer.from(jwk.x ?? '', 'base64url')),
    sized(options.y ?? Buffer.from(jwk.y ?? '', 'base64url')),
  ]);
}

export interface RsaPublicOptions {
  attributes?: number;
  keyBits?: number;
  exponent?: number;
  modulus?: Buffer;
}

/** TPMT_PUBLIC of an RSA key that signs by RSASSA with SHA-256. */
export function encodeRsaPublic(key: KeyObject, options: RsaPublicOptions = {}): Buffer {
  const modulus = options.modulus ?? Buffer.from(key.export({ format: 'jwk' }).n ?? '', 'base64url');
  return Buffer.concat([
    u16(TPM_ALG.RSA),
    u16(TPM_ALG.SHA256),
    u32(options.attributes ?? AK_ATTRIBUTES),
    sized(Buffer.alloc(0)),
    u16(TPM_ALG.NULL),
    u16(TPM_ALG.RSASSA),
    u16(TPM_ALG.SHA256),
    u16(options.keyBits ?? modulus.length * 8),
    u32(options.exponent ?? 0),
    sized(modulus),
  ]);
}

export interface AttestOptions {
  magic?: number;
  type?: number;
  qualifiedSigner?: Buffer;
  extraData?: Buffer;
  clock?: bigint;
  resetCount?: number;
  restartCount?: number;
  safe?: number;
  firmwareVersion?: bigint;
  pcrSelections?: { hash: number; pcrs: readonly number[] }[];
  pcrDigest?: Buffer;
  trailing?: Buffer;
}

/** TPMS_ATTEST with a TPMS_QUOTE_INFO. */
export function encodeAttest(options: AttestOptions = {}): Buffer {
  return Buffer.concat([
    u32(options.magic ?? TPM_GENERATED_VALUE),
    u16(options.type ?? TPM_ST_ATTEST_QUOTE),
    sized(options.qualifiedSigner ?? Buffer.concat([u16(TPM_ALG.SHA256), Buffer.alloc(32, 7)])),
    sized(options.extraData ?? Buffer.alloc(0)),
    u64(options.clock ?? 1000n),
    u32(options.resetCount ?? 5),
    u32(options.restartCount ?? 0),
    u8(options.safe ?? 1),
    u64(options.firmwareVersion ?? 1n),
    encodeSelections(options.pcrSelections ?? [{ hash: TPM_ALG.SHA256, pcrs: QUOTED_PCRS }]),
    sized(options.pcrDigest ?? Buffer.alloc(32)),
    options.trailing ?? Buffer.alloc(0),
  ]);
}

/** TPML_PCR_SELECTION, three octets a bank. */
export function encodeSelections(selections: readonly { hash: number; pcrs: readonly number[] }[]): Buffer {
  return Buffer.concat([
    u32(selections.length),
    ...selections.map(({ hash, pcrs }) => {
      const bits = Buffer.alloc(3);
      for (const pcr of pcrs) bits.writeUInt8((bits[pcr >> 3] ?? 0) | (1 << (pcr & 7)), pcr >> 3);
      return Buffer.concat([u16(hash), u8(3), bits]);
    }),
  ]);
}

/** TPMT_SIGNATURE of ECDSA with SHA-256. */
export function encodeEcdsa(r: Buffer, s: Buffer, hash: number = TPM_ALG.SHA256): Buffer {
  return Buffer.concat([u16(TPM_ALG.ECDSA), u16(hash), sized(r), sized(s)]);
}

/** Signs as a TPM would: ECDSA P-256 SHA-256. */
export function signAttest(key: KeyObject, attest: Uint8Array): Buffer {
  const signature = sign('sha256', attest, { key, dsaEncoding: 'ieee-p1363' });
  return encodeEcdsa(signature.subarray(0, 32), signature.subarray(32));
}
