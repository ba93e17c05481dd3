import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { concat } from './bytes.mjs';

export const sha256 = (...parts) =>
  createHash('sha256')
    .update(concat(...parts))
    .digest();

const file = new URL('../keys.json', import.meta.url);
const saved = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).keys : {};

/** The P-256 key of this name: made once, and kept in keys.json. They are nobody's but these files'. */
export function key(name) {
  saved[name] ??= generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
  const privateKey = createPrivateKey({ key: saved[name], format: 'jwk' });
  const publicKey = createPublicKey(privateKey);
  const { kty, crv, x, y } = saved[name];
  return {
    privateKey,
    spki: publicKey.export({ format: 'der', type: 'spki' }),
    jwk: { kty, crv, x, y },
    /** As trust bundles hold it. */
    published: { kty, crv, x, y, kid: name, alg: 'ES256', use: 'sig' },
    x: Buffer.from(x, 'base64url'),
    y: Buffer.from(y, 'base64url'),
  };
}

export function saveKeys() {
  const about = 'Private keys of the vectors in this folder. They protect nothing.';
  writeFileSync(file, `${JSON.stringify({ about, keys: saved }, null, 2)}\n`);
}

/** ECDSA with SHA-256: r and s, 32 bytes each. */
export const signRaw = (signer, ...parts) =>
  sign('sha256', concat(...parts), { key: signer.privateKey, dsaEncoding: 'ieee-p1363' });
/** ECDSA with SHA-256 as X.509 has it. */
export const signDer = (signer, bytes) => sign('sha256', bytes, signer.privateKey);

/** A compact JWS (RFC 7515, 7.1). */
export function jws(header, payload, signer) {
  const part = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
  const signed = `${part(header)}.${part(payload)}`;
  return `${signed}.${signRaw(signer, signed).toString('base64url')}`;
}
