import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { signHeartbeat, verifyHeartbeat } from '../../../attestation/seats/statements';

const statement = { seat: '2d4e7c1a-5b0f-4a53-9f5e-0c8d1a2b3c4d', tlsExporter: randomBytes(32), at: 1_800_000_000 };

test.each([
  ['P-256', true],
  ['P-384', false],
  ['secp521r1', false],
])('a heartbeat signed by a key on %s holds: %s', (namedCurve, holds) => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve });
  const spki = publicKey.export({ format: 'der', type: 'spki' });
  expect(verifyHeartbeat(spki, statement, signHeartbeat(privateKey, statement))).toBe(holds);
});
