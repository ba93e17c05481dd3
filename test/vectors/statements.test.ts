import { createPrivateKey, createPublicKey } from 'node:crypto';
import type { JsonWebKey } from 'node:crypto';
import { signProof, verifyProof } from '../../attestation/certificates/proof';
import {
  signClosing,
  signHeartbeat,
  signSeatProof,
  verifyClosing,
  verifyHeartbeat,
  verifySeatProof,
} from '../../attestation/seats/statements';
import { readVectors } from './read';

interface Signed {
  name: string;
  good: boolean;
  signature: string;
}
const bytes = (base64: string): Buffer => Buffer.from(base64, 'base64');
const key = createPrivateKey({
  key: readVectors<{ keys: Record<string, JsonWebKey> }>('keys').keys['client']!,
  format: 'jwk',
});

describe('proofs of a client', () => {
  const file = readVectors<{ publicKey: string; nonce: string; vectors: Signed[] }>('proofs');
  const verify = (signature: Buffer): boolean => verifyProof(bytes(file.publicKey), bytes(file.nonce), signature);

  test.each(file.vectors)('$name: $good', ({ good, signature }) => expect(verify(bytes(signature))).toBe(good));
  test('what is signed now is taken as well', () => expect(verify(signProof(key, bytes(file.nonce)))).toBe(true));
});

describe('proofs for a seat', () => {
  const file = readVectors<{ publicKey: string; claims: string; vectors: Signed[] }>('seat-proofs');
  const publicKey = createPublicKey({ key: bytes(file.publicKey), format: 'der', type: 'spki' });
  const verify = (signature: Buffer): boolean => verifySeatProof(publicKey, bytes(file.claims), signature);

  test.each(file.vectors)('$name: $good', ({ good, signature }) => expect(verify(bytes(signature))).toBe(good));
  test('what is signed now is taken as well', () => expect(verify(signSeatProof(key, bytes(file.claims)))).toBe(true));
});

describe('heartbeats', () => {
  const file = readVectors<{
    publicKey: string;
    statement: { seat: string; tlsExporter: string; at: number };
    vectors: Signed[];
  }>('heartbeats');
  const statement = { ...file.statement, tlsExporter: bytes(file.statement.tlsExporter) };
  const verify = (signature: Buffer): boolean => verifyHeartbeat(bytes(file.publicKey), statement, signature);

  test.each(file.vectors)('$name: $good', ({ good, signature }) => expect(verify(bytes(signature))).toBe(good));
  test('what is signed now is taken as well', () => expect(verify(signHeartbeat(key, statement))).toBe(true));
});

describe('closings', () => {
  const file = readVectors<{
    publicKey: string;
    statement: { trustDomain: string; seat: string; tlsExporter: string; at: number };
    vectors: Signed[];
  }>('closings');
  const statement = { ...file.statement, tlsExporter: bytes(file.statement.tlsExporter) };
  const verify = (signature: Buffer): boolean => verifyClosing(bytes(file.publicKey), statement, signature);

  test.each(file.vectors)('$name: $good', ({ good, signature }) => expect(verify(bytes(signature))).toBe(good));
  test('what is signed now is taken as well', () => expect(verify(signClosing(key, statement))).toBe(true));
});
