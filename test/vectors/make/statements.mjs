import { concat, uint } from './bytes.mjs';
import { client, ISSUED } from './evidence.mjs';
import { key, sha256, signDer, signRaw } from './keys.mjs';

const other = key('another client');
const spki = client.spki.toString('base64');
const base64 = (bytes) => bytes.toString('base64');
const nonce = sha256('nonce');
const claims = Buffer.from('the claims of a session, as they were sent');
const claimsHash = sha256(claims);
const seat = '2d4e7c1a-5b0f-4a53-9f5e-0c8d1a2b3c4d';
const exporter = sha256('exporter');
const at = ISSUED * 1000 + 250;

const signed = (name, good, signature, rest = {}) => ({ name, good, ...rest, signature: base64(signature) });

/** LoginRequest.proof and AttestRequest.proof. */
const proofOf = (...parts) => signRaw(client, ...parts);
export const proofs = {
  about:
    'That a client holds its TLS key and wants evidence for a nonce: ECDSA P-256 SHA-256, r and s, over "sls attest v1", a zero byte and the nonce.',
  publicKey: spki,
  nonce: base64(nonce),
  vectors: [
    signed('the proof', true, proofOf('sls attest v1\0', nonce)),
    signed('the nonce alone', false, proofOf(nonce)),
    signed('another version of the context', false, proofOf('sls attest v2\0', nonce)),
    signed('the context without its zero byte', false, proofOf('sls attest v1', nonce)),
    signed("a seat's context", false, proofOf('sls seat v1\0', nonce)),
    signed('another nonce', false, proofOf('sls attest v1\0', sha256('another nonce'))),
    signed('another key', false, signRaw(other, 'sls attest v1\0', nonce)),
    signed('as X.509 has signatures', false, signDer(client, concat('sls attest v1\0', nonce))),
  ],
};

/** TakeSeatRequest.proof. */
export const seatProofs = {
  about:
    'That a client wants a seat for the session of these claims: over "sls seat v1", a zero byte and the SHA-256 of the claims.',
  publicKey: spki,
  claims: base64(claims),
  vectors: [
    signed('the proof', true, signRaw(client, 'sls seat v1\0', claimsHash)),
    signed('the hash alone', false, signRaw(client, claimsHash)),
    signed('the claims themselves', false, signRaw(client, 'sls seat v1\0', claims)),
    signed("evidence's context", false, signRaw(client, 'sls attest v1\0', claimsHash)),
    signed('another version of the context', false, signRaw(client, 'sls seat v2\0', claimsHash)),
    signed('other claims', false, signRaw(client, 'sls seat v1\0', sha256('other claims'))),
    signed('another key', false, signRaw(other, 'sls seat v1\0', claimsHash)),
  ],
};

/** RenewSeatRequest.heartbeat. */
const beat = (signer, context, { id = seat, binding = exporter, ms = at } = {}) =>
  signRaw(signer, context, id, binding, uint(ms, 8));
export const heartbeats = {
  about:
    'That a connection with a seat is open: by the enclave\'s TLS key over "sls heartbeat v1", a zero byte, the seat\'s id, the TLS exporter and Unix milliseconds in 8 bytes.',
  publicKey: spki,
  statement: { seat, tlsExporter: base64(exporter), at },
  vectors: [
    signed('the heartbeat', true, beat(client, 'sls heartbeat v1\0')),
    signed('without the context', false, beat(client, '')),
    signed('another version of the context', false, beat(client, 'sls heartbeat v2\0')),
    signed("a seat's context", false, beat(client, 'sls seat v1\0')),
    signed('of another seat', false, beat(client, 'sls heartbeat v1\0', { id: seat.replace('2', '3') })),
    signed('of another connection', false, beat(client, 'sls heartbeat v1\0', { binding: sha256('else') })),
    signed('of another time', false, beat(client, 'sls heartbeat v1\0', { ms: at + 1 })),
    signed('in seconds', false, beat(client, 'sls heartbeat v1\0', { ms: ISSUED })),
    signed('another key', false, beat(other, 'sls heartbeat v1\0')),
  ],
};

/** EndSeatRequest.closing and TakeSeatRequest.closed. */
const domain = 'sls.test';
const named = (name) => concat(uint(name.length, 1), name);
const closing = (signer, context, { from = named(domain), id = seat, binding = exporter, ms = at } = {}) =>
  signRaw(signer, context, from, id, binding, uint(ms, 8));
export const closings = {
  about:
    "That a connection which had a seat is closed: by the enclave's TLS key over \"sls closing v1\", a zero byte, the length of the trust domain's name in a byte, that name, the seat's id, the TLS exporter and Unix milliseconds in 8 bytes.",
  publicKey: spki,
  statement: { trustDomain: domain, seat, tlsExporter: base64(exporter), at },
  vectors: [
    signed('the closing', true, closing(client, 'sls closing v1\0')),
    signed('without the context', false, closing(client, '')),
    signed('another version of the context', false, closing(client, 'sls closing v2\0')),
    signed("a heartbeat's context", false, closing(client, 'sls heartbeat v1\0')),
    signed('a heartbeat', false, beat(client, 'sls heartbeat v1\0')),
    signed('of another installation', false, closing(client, 'sls closing v1\0', { from: named('sls.tent') })),
    signed('without the length of the name', false, closing(client, 'sls closing v1\0', { from: domain })),
    signed('of another seat', false, closing(client, 'sls closing v1\0', { id: seat.replace('2', '3') })),
    signed('of another connection', false, closing(client, 'sls closing v1\0', { binding: sha256('else') })),
    signed('of another time', false, closing(client, 'sls closing v1\0', { ms: at + 1 })),
    signed('another key', false, closing(other, 'sls closing v1\0')),
  ],
};
