import {
  constants,
  createCipheriv,
  createECDH,
  createHash,
  createHmac,
  createPublicKey,
  publicEncrypt,
  randomBytes,
  randomUUID,
  sign,
  verify,
} from 'node:crypto';
import type { JsonWebKey, KeyObject } from 'node:crypto';

/**
 * All the cryptography that attestation/ needs beside jose, and the only place in it that imports `node:crypto`: to run
 * elsewhere, replace this one file. Keys are opaque to the rest of attestation/, which asks the functions here about them.
 */

/** A public key for ECDSA, ECDH or RSA. */
export type PublicKey = KeyObject;
/** A private key that can sign: opaque, or in PEM. */
export type PrivateKey = KeyObject | string | Buffer;

type HashName = 'sha256' | 'sha384' | 'sha512';
type Curve = 'P-256' | 'P-384' | 'P-521';

/** What a public key is: enough to decide whether to believe signatures by it. */
type KeyDescription =
  | { type: 'ec'; /** Undefined for every other curve. */ curve: Curve | undefined }
  | { type: 'rsa'; bits: number; exponent: bigint; /** Big-endian. */ modulus: Buffer }
  | { type: 'other'; name: string };

/** @returns the hash of the parts, one behind the other */
export function hash(name: HashName, ...parts: ReadonlyArray<Uint8Array | string>): Buffer {
  const state = createHash(name);
  for (const part of parts) state.update(part);
  return state.digest();
}

/** SHA-256 of the parts, one behind the other; a text counts as its UTF-8. 32 bytes. */
export function sha256(...parts: ReadonlyArray<Uint8Array | string>): Buffer {
  return hash('sha256', ...parts);
}

/** As `sha256`, in 64 hexadecimal digits. */
export function sha256Hex(...parts: ReadonlyArray<Uint8Array | string>): string {
  return sha256(...parts).toString('hex');
}

/** HMAC (RFC 2104) over the parts, one behind the other. */
export function hmac(name: HashName, key: Uint8Array, ...parts: readonly Uint8Array[]): Buffer {
  const state = createHmac(name, key);
  for (const part of parts) state.update(part);
  return state.digest();
}

/** From the system's generator. */
export function random(bytes: number): Buffer {
  return randomBytes(bytes);
}

/** A random UUID (RFC 9562, 5.4), in lower case. */
export function newUuid(): string {
  return randomUUID();
}

/** @param spki SubjectPublicKeyInfo, DER. @throws Error for anything that is no key, such as a point off its curve */
export function importSpki(spki: Uint8Array): PublicKey {
  const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  if (isUsualForm(spki)) return key;
  // OpenSSL remembers how a point was written (compressed, hybrid) and a curve (by its parameters): by way of a JWK it forgets.
  const named = key.asymmetricKeyType === 'ec' && (key.asymmetricKeyDetails?.namedCurve ?? '') in CURVES;
  return named ? createPublicKey({ key: key.export({ format: 'jwk' }), format: 'jwk' }) : key;
}

/** How a point on P-256, P-384 and P-521 is written, not compressed, with its curve by name (RFC 5480, 2): all of it before the two numbers. */
const USUAL_FORMS = [
  '3059301306072a8648ce3d020106082a8648ce3d03010703420004',
  '3076301006072a8648ce3d020106052b8104002203620004',
  '30819b301006072a8648ce3d020106052b810400230381860004',
].map((hex) => Buffer.from(hex, 'hex'));

/** The form that nearly every key has, and has after the way by a JWK too: that way takes as long as reading the key. */
function isUsualForm(spki: Uint8Array): boolean {
  return USUAL_FORMS.some((form) => form.equals(spki.subarray(0, form.length)));
}

/** @param jwk public (RFC 7518, 6). @throws Error as importSpki */
export function importJwk(jwk: object): PublicKey {
  return createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' });
}

/** SubjectPublicKeyInfo, DER, in the one encoding that a key of this module has: what it is known by may be a hash of it. */
export function exportSpki(key: PublicKey): Buffer {
  return key.export({ format: 'der', type: 'spki' });
}

/** True when both are the same key, however they came. */
export function isSameKey(a: PublicKey, b: PublicKey): boolean {
  return a.equals(b);
}

const CURVES: Record<string, Curve> = { prime256v1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' };
const OPENSSL_CURVES = { 'P-256': 'prime256v1', 'P-384': 'secp384r1', 'P-521': 'secp521r1' } as const;

/** What kind of key it is, and how large. */
export function describeKey(key: PublicKey): KeyDescription {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  if (type === 'ec') return { type, curve: CURVES[details?.namedCurve ?? ''] };
  if (type !== 'rsa') return { type: 'other', name: type ?? 'secret' };
  const modulus = Buffer.from(key.export({ format: 'jwk' }).n ?? '', 'base64url');
  return { type, bits: details?.modulusLength ?? 0, exponent: details?.publicExponent ?? 0n, modulus };
}

/** Whether the key is on P-256. */
export function isP256(key: PublicKey): boolean {
  const description = describeKey(key);
  return description.type === 'ec' && description.curve === 'P-256';
}

/** @returns ECDSA signature with SHA-256: r and s as long as the curve's numbers (IEEE P1363), 64 bytes on P-256 */
export function signEcdsa(key: PrivateKey, data: Uint8Array): Buffer {
  return sign('sha256', data, { key: key as KeyObject, dsaEncoding: 'ieee-p1363' });
}

/** @param signature IEEE P1363, see signEcdsa */
export function verifyEcdsa(key: PublicKey, data: Uint8Array, signature: Uint8Array): boolean {
  return verify('sha256', data, { key, dsaEncoding: 'ieee-p1363' }, signature);
}

/** How certificates are signed: ECDSA as in RFC 5758, or RSASSA-PKCS1-v1_5 (RFC 8017, 8.2). */
export interface SignatureAlgorithm {
  type: 'ec' | 'rsa';
  hash: HashName;
}

/**
 * Verifies a signature as X.509 carries it. A key of another type than the algorithm's is no crash and no success.
 * @param signature for ECDSA an Ecdsa-Sig-Value, DER (RFC 3279, 2.2.3)
 */
export function verifySignature(
  key: PublicKey,
  { type, hash: name }: SignatureAlgorithm,
  data: Uint8Array,
  signature: Uint8Array,
): boolean {
  return key.asymmetricKeyType === type && verify(name, data, key, signature);
}

/** AES-128 or AES-256 in CFB mode with an IV of zeros: good for one message under one key. */
export function encryptAesCfb(key: Uint8Array, data: Uint8Array): Buffer {
  const cipher = createCipheriv(key.length === 32 ? 'aes-256-cfb' : 'aes-128-cfb', key, Buffer.alloc(16));
  return Buffer.concat([cipher.update(data), cipher.final()]);
}

/** RSAES-OAEP (RFC 8017, 7.1), the hash for the label and for MGF1. */
export function encryptOaep(key: PublicKey, name: HashName, label: Uint8Array, data: Uint8Array): Buffer {
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  return publicEncrypt({ key, padding, oaepHash: name, oaepLabel: Buffer.from(label) }, data);
}

/**
 * Diffie-Hellman with a key made for this one use.
 * @param point the other side's: x and y, each as long as the curve's numbers
 * @returns the shared point's x, and the new public point
 * @throws Error for a point that isn't on the curve
 */
export function ephemeralEcdh(curve: Curve, { x, y }: { x: Buffer; y: Buffer }): { z: Buffer; x: Buffer; y: Buffer } {
  const ephemeral = createECDH(OPENSSL_CURVES[curve]);
  const point = ephemeral.generateKeys();
  const size = (point.length - 1) / 2;
  const z = ephemeral.computeSecret(Buffer.concat([Buffer.from([4]), x, y]));
  return { z, x: point.subarray(1, 1 + size), y: point.subarray(1 + size) };
}
