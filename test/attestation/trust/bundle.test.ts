import { parseTrustBundle, serializeTrustBundle } from '../../../attestation/trust/bundle';
import type { TrustBundle } from '../../../attestation/trust/bundle';
import { makeAuthority } from '../../support/authority';
import { makeSigningKey, trustBundleKeys } from '../../support/trust';

let bundle: TrustBundle;
beforeAll(async () => {
  const [attestation, server] = [await makeAuthority('attestation'), await makeAuthority('server')];
  bundle = {
    version: 1,
    ...trustBundleKeys(),
    trustDomain: 'sls.local',
    attestationRoots: [attestation.certificate],
    serverRoots: [server.certificate],
    services: { signup: 'https://127.0.0.1:7001', login: 'unix:/run/login.sock' },
    policy: { softwareTpm: 'allow', imageDigests: [`sha256:${'ab'.repeat(32)}`] },
  };
});

test('a bundle is read as it was written', () => {
  expect(parseTrustBundle(serializeTrustBundle(bundle))).toEqual(bundle);
});

test('boot states are kept', () => {
  const bootStates = [
    {
      name: 'golden',
      pcrs: { 7: 'ab'.repeat(32) },
      events: [{ pcr: 7, type: 'EV_SEPARATOR', sha256: 'cd'.repeat(32), description: '' }],
    },
  ];
  expect(
    parseTrustBundle(serializeTrustBundle({ ...bundle, policy: { ...bundle.policy, bootStates } })).policy.bootStates,
  ).toEqual(bootStates);
});

test('text that is no JSON is an error', () => {
  expect(() => parseTrustBundle('version: 1')).toThrowWithCode('trust_bundle.not_json');
});

test.each<[string, (bundle: TrustBundle) => unknown, string]>([
  ['another version', (good) => ({ ...good, version: 2 }), 'version'],
  ['no sequence', ({ sequence: _, ...good }) => good, 'sequence'],
  ['no trust key', ({ trustKey: _, ...good }) => good, 'trustKey'],
  [
    'a coordinate that is written with bits left over',
    (good) => ({ ...good, trustKey: { ...good.trustKey, x: leftOver(good.trustKey.x) } }),
    'trustKey',
  ],
  ['a private key as trust key', (good) => ({ ...good, trustKey: makeSigningKey().privateKey }), 'trustKey'],
  [
    'a trust key that is no point',
    (good) => ({ ...good, trustKey: { ...good.trustKey, y: good.trustKey.x } }),
    'trustKey',
  ],
  ['no revocation key', (good) => ({ ...good, revocationKeys: { keys: [] } }), 'revocationKeys.keys'],
  [
    'two revocation keys of one name',
    (good) => ({ ...good, revocationKeys: { keys: [good.trustKey, good.trustKey] } }),
    'revocationKeys.keys',
  ],
  ['no attestation root', (good) => ({ ...good, attestationRoots: [] }), 'attestationRoots'],
  [
    'a root that is no certificate',
    (good) => ({ ...good, attestationRoots: ['-----BEGIN CERTIFICATE-----'] }),
    'attestationRoots.0',
  ],
  [
    'two roots in one text',
    (good) => ({ ...good, attestationRoots: [`${good.attestationRoots[0]}\n${good.serverRoots[0]}`] }),
    'attestationRoots.0',
  ],
  [
    'an address that is none',
    (good) => ({ ...good, services: { ...good.services, login: 'ftp://x' } }),
    'services.login',
  ],
  ['no word on software TPMs', (good) => ({ ...good, policy: {} }), 'policy.softwareTpm'],
  [
    'an image by tag',
    (good) => ({ ...good, policy: { softwareTpm: 'allow', imageDigests: ['enclave:latest'] } }),
    'policy.imageDigests.0',
  ],
  [
    'no boot state among those demanded',
    (good) => ({ ...good, policy: { ...good.policy, bootStates: [] } }),
    'policy.bootStates',
  ],
  [
    'a boot state of no PCR',
    (good) => ({ ...good, policy: { ...good.policy, bootStates: [{ name: 'a', pcrs: {} }] } }),
    'policy.bootStates.0',
  ],
  ['a misspelled rule', (good) => ({ ...good, policy: { ...good.policy, imageDigest: [] } }), 'imageDigest'],
  ['a trust domain with a slash', (good) => ({ ...good, trustDomain: 'a/b' }), 'trustDomain'],
])('%s is an error that names the field', (_, edit, field) => {
  const text = JSON.stringify(edit(bundle));
  expect(() => parseTrustBundle(text)).toThrowWithCode('trust_bundle.malformed');
  expect(() => parseTrustBundle(text)).toThrow(field);
  expect(() => serializeTrustBundle(edit(bundle) as TrustBundle)).toThrowWithCode('trust_bundle.malformed');
});

test('a leaf certificate is no root', async () => {
  const leaf = await makeAuthority('leaf', { ca: false });
  expect(() => parseTrustBundle(JSON.stringify({ ...bundle, attestationRoots: [leaf.certificate] }))).toThrowWithCode(
    'trust_bundle.malformed',
  );
});

/** The same 32 bytes in base64url, with other bits behind them. */
function leftOver(coordinate: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const last = coordinate.at(-1) ?? '';
  const written = `${coordinate.slice(0, -1)}${alphabet[alphabet.indexOf(last) + 1]}`;
  expect(Buffer.from(written, 'base64url')).toEqual(Buffer.from(coordinate, 'base64url'));
  return written;
}
