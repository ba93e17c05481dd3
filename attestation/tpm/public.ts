import { hash, importJwk } from '../crypto';
import type { PublicKey } from '../crypto';
import type { ByteReader } from '../bytes/reader';
import { hashName, hex16, TPM_ALG, TPM_ECC_CURVE, TPMA_OBJECT } from './constants';
import type { ObjectAttribute } from './constants';
import { u16 } from './encode';
import { parseWhole, TpmError } from './errors';
import { isRocaModulus } from './roca';

/** TPMT_SYM_DEF_OBJECT (Part 2, 11.1.7); undefined in a key stands for TPM_ALG_NULL. */
interface SymmetricDefinition {
  algorithm: number;
  keyBits: number;
  mode: number;
}

/** TPMT_ECC_SCHEME, TPMT_RSA_SCHEME, TPMT_KDF_SCHEME (Part 2, 11.2): `hash` where the scheme has one. */
interface Scheme {
  algorithm: number;
  hash?: number;
}

interface PublicArea {
  /** The TPMT_PUBLIC exactly as parsed. */
  bytes: Buffer;
  /** TPM_ALG_ID. */
  nameAlgorithm: number;
  /** TPMA_OBJECT bits. */
  attributes: number;
  authPolicy: Buffer;
  symmetric: SymmetricDefinition | undefined;
  scheme: Scheme;
}

/** TPMT_PUBLIC of an ECC key (Part 2, 12.2.3.6). */
export interface EccPublic extends PublicArea {
  type: 'ecc';
  curve: 'P-256' | 'P-384';
  kdf: Scheme;
  /** Big-endian, padded to the curve's size. */
  x: Buffer;
  y: Buffer;
}

/** TPMT_PUBLIC of an RSA key (Part 2, 12.2.3.5). */
export interface RsaPublic extends PublicArea {
  type: 'rsa';
  keyBits: number;
  exponent: number;
  /** Big-endian, keyBits / 8 bytes. */
  modulus: Buffer;
}

/** The public area of an asymmetric key (Part 2, 12.2.4). */
export type TpmPublic = EccPublic | RsaPublic;

const CURVES: ReadonlyMap<number, { name: 'P-256' | 'P-384'; size: number }> = new Map([
  [TPM_ECC_CURVE.P256, { name: 'P-256', size: 32 }],
  [TPM_ECC_CURVE.P384, { name: 'P-384', size: 48 }],
]);
const RSA_BITS = [2048, 3072, 4096];
/** The one exponent that is taken, as a JWK has it. */
const EXPONENT_65537 = 'AQAB';

/**
 * Parses a TPMT_PUBLIC (Part 2, 12.2.4) of an asymmetric key. Weak keys are refused here, before anything uses them:
 * curves other than P-256 and P-384, RSA under 2,048 bits, over 4,096 bits (slow to use, by an attacker's choice),
 * with an exponent other than 65,537, or with the fingerprint of ROCA.
 * @param bytes without the TPM2B's size before it
 * @example
 *   const area = parsePublic(bytes);
 *   const name = publicName(area); // 2 bytes of algorithm, then the digest
 *   const key = publicKeyObject(area); // also refuses a point off its curve
 * @throws TpmError
 */
export function parsePublic(bytes: Uint8Array): TpmPublic {
  return parseWhole(bytes, 'TPMT_PUBLIC', (reader) => {
    const type = reader.u16();
    if (type !== TPM_ALG.ECC && type !== TPM_ALG.RSA) {
      throw new TpmError('tpm.unsupported', `TPMT_PUBLIC: expected an ECC or RSA key, got type ${hex16(type)}`);
    }
    const nameAlgorithm = reader.u16();
    if (hashName(nameAlgorithm) === undefined) {
      throw new TpmError(
        'tpm.unsupported',
        `TPMT_PUBLIC: expected SHA-256, SHA-384 or SHA-512 as name algorithm, got ${hex16(nameAlgorithm)}`,
      );
    }
    const area = {
      bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length),
      nameAlgorithm,
      attributes: reader.u32(),
      authPolicy: reader.sized(),
      symmetric: readSymmetric(reader),
    };
    return type === TPM_ALG.ECC ? readEcc(reader, area) : readRsa(reader, area);
  });
}

/** The object's Name: name algorithm and hash of the public area (Part 1, 16 "Names"). */
export function publicName(key: TpmPublic): Buffer {
  return Buffer.concat([u16(key.nameAlgorithm), hash(hashName(key.nameAlgorithm) ?? 'sha256', key.bytes)]);
}

/**
 * The key itself, to verify by and to compare with a certificate's.
 * @throws TpmError when it is no key, such as a point that isn't on its curve.
 */
export function publicKeyObject(key: TpmPublic): PublicKey {
  const jwk =
    key.type === 'ecc'
      ? { kty: 'EC', crv: key.curve, x: key.x.toString('base64url'), y: key.y.toString('base64url') }
      : { kty: 'RSA', n: key.modulus.toString('base64url'), e: EXPONENT_65537 };
  try {
    return importJwk(jwk);
  } catch (error) {
    throw new TpmError(
      'tpm.invalid',
      `TPMT_PUBLIC: expected a valid ${key.type === 'ecc' ? key.curve : 'RSA'} key, got one that isn't`,
      { cause: error },
    );
  }
}

/** Whether the public area has the attribute (Part 2, 8.3). */
export function hasAttribute(key: TpmPublic, attribute: ObjectAttribute): boolean {
  return (key.attributes & TPMA_OBJECT[attribute]) !== 0;
}

type Common = Omit<PublicArea, 'scheme'>;

/** TPMS_ECC_PARMS and TPMS_ECC_POINT (Part 2, 12.2.3.6 and 11.2.5.2). */
function readEcc(reader: ByteReader, area: Common): EccPublic {
  const scheme = readScheme(reader);
  const curveId = reader.u16();
  const curve = CURVES.get(curveId);
  if (curve === undefined) {
    throw new TpmError('tpm.weak_key', `TPMT_PUBLIC: expected curve P-256 or P-384, got ${hex16(curveId)}`);
  }
  const kdf = readScheme(reader);
  const coordinate = (): Buffer => {
    const value = reader.sized();
    if (value.length === 0 || value.length > curve.size) {
      throw new TpmError(
        'tpm.invalid',
        `TPMT_PUBLIC: expected coordinates of 1 to ${curve.size} bytes, got ${value.length}`,
      );
    }
    return Buffer.concat([Buffer.alloc(curve.size - value.length), value]);
  };
  return { ...area, type: 'ecc', scheme, curve: curve.name, kdf, x: coordinate(), y: coordinate() };
}

/** TPMS_RSA_PARMS and TPM2B_PUBLIC_KEY_RSA (Part 2, 12.2.3.5 and 11.2.4.5). */
function readRsa(reader: ByteReader, area: Common): RsaPublic {
  const scheme = readScheme(reader);
  const keyBits = reader.u16();
  if (!RSA_BITS.includes(keyBits)) {
    throw new TpmError(
      'tpm.weak_key',
      `TPMT_PUBLIC: expected an RSA key of ${RSA_BITS.join(', ')} bits, got ${keyBits}`,
    );
  }
  // Zero stands for the default exponent.
  const exponent = reader.u32() || 65537;
  if (exponent !== 65537)
    throw new TpmError('tpm.weak_key', `TPMT_PUBLIC: expected RSA exponent 65537, got ${exponent}`);
  const modulus = reader.sized();
  if (modulus.length !== keyBits / 8 || (modulus[0] ?? 0) < 0x80 || ((modulus[modulus.length - 1] ?? 0) & 1) === 0) {
    throw new TpmError(
      'tpm.invalid',
      `TPMT_PUBLIC: expected an odd RSA modulus of ${keyBits} bits, got another number of ${modulus.length} bytes`,
    );
  }
  if (isRocaModulus(modulus))
    throw new TpmError(
      'tpm.weak_key',
      'TPMT_PUBLIC: expected a sound RSA key, got one that ROCA (CVE-2017-15361) breaks',
    );
  return { ...area, type: 'rsa', scheme, keyBits, exponent, modulus };
}

function readSymmetric(reader: ByteReader): SymmetricDefinition | undefined {
  const algorithm = reader.u16();
  if (algorithm === TPM_ALG.NULL) return undefined;
  if (algorithm !== TPM_ALG.AES) {
    throw new TpmError(
      'tpm.unsupported',
      `TPMT_PUBLIC: expected AES or none as symmetric algorithm, got ${hex16(algorithm)}`,
    );
  }
  return { algorithm, keyBits: reader.u16(), mode: reader.u16() };
}

/** A scheme's selector, then what TPMU_ASYM_SCHEME (Part 2, 11.2.3.5) or TPMU_KDF_SCHEME (11.2.3.2) has for it. */
function readScheme(reader: ByteReader): Scheme {
  const algorithm = reader.u16();
  if (algorithm === TPM_ALG.NULL || algorithm === TPM_ALG.RSAES) return { algorithm };
  if (!SCHEMES_WITH_HASH.has(algorithm)) {
    throw new TpmError('tpm.unsupported', `TPMT_PUBLIC: expected a known scheme, got ${hex16(algorithm)}`);
  }
  return { algorithm, hash: reader.u16() };
}

/** 0x0007, 0x0020 to 0x0022 are the key derivation functions MGF1, KDF1_SP800_56A, KDF2 and KDF1_SP800_108. */
const SCHEMES_WITH_HASH: ReadonlySet<number> = new Set([
  TPM_ALG.RSASSA,
  TPM_ALG.RSAPSS,
  TPM_ALG.OAEP,
  TPM_ALG.ECDSA,
  TPM_ALG.ECDH,
  TPM_ALG.SM2,
  TPM_ALG.ECSCHNORR,
  TPM_ALG.ECMQV,
  0x0007,
  0x0020,
  0x0021,
  0x0022,
]);
