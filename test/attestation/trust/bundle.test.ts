import { generateKeyPairSync } from 'node:crypto';
import { parseTrustBundle, serializeTrustBundle } from '../../../attestation/trust/bundle';
import type { TrustBundle } from '../../../attestation/trust/bundle';
import { makeAuthority } from '../../support/authority';
import { makeSigningKey, trustBundleKeys } from '../../support/trust';

const DIGEST = `sha256:${'ab'.repeat(32)}`;
/** 253 characters, as long as a name of DNS may be. */
const LONGEST_DOMAIN = Array(127).fill('a').join('.');

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
    policy: { softwareTpm: 'allow', imageDigests: [DIGEST] },
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

test('what is just within the bounds is taken', () => {
  const largest = {
    ...bundle,
    sequence: 0,
    trustDomain: LONGEST_DOMAIN,
    trustKey: { ...bundle.trustKey, kid: 'k'.repeat(128) },
    policy: { ...bundle.policy, bootStates: bootStates(64) },
  };
  expect(parseTrustBundle(serializeTrustBundle(largest))).toEqual(largest);
});

const more = (good: TrustBundle): object => ({
  ...good,
  mirrors: ['https://mirror.example'],
  revocationKeys: { ...good.revocationKeys, more: 1 },
  services: { ...good.services, admin: 'https://admin.example' },
  trustKey: { ...good.trustKey, x5t: 'a' },
  policy: { ...good.policy, secureBoot: 'require' },
});

test('what a newer release added is passed over, but not where a person wrote it', () => {
  const text = JSON.stringify(more(bundle));
  expect(parseTrustBundle(text)).toEqual(bundle);
  for (const path of ['mirrors', 'services.admin', 'policy.secureBoot'])
    expect(() => parseTrustBundle(text, { byHand: true })).toThrow(`${path}: this release doesn't know it`);
  expect(() => parseTrustBundle(text, { byHand: true })).toThrowWithCode('trust_bundle.malformed');
  expect(parseTrustBundle(JSON.stringify(bundle), { byHand: true })).toEqual(bundle);
});

test('what is critical and not known refuses the bundle', () => {
  const read = (critical: unknown) => (): TrustBundle =>
    parseTrustBundle(JSON.stringify({ ...more(bundle), critical }));
  expect(read(['policy.imageDigests', 'policy'])()).toMatchObject(bundle);
  expect(read(['policy.secureBoot'])).toThrowWithCode('trust_bundle.newer_release');
  expect(read(['policy.imageDigests', 'policy.secureBoot'])).toThrow(
    'the trust bundle needs a newer release, which knows policy.secureBoot',
  );
  for (const wrong of [[], ['policy', 'policy'], [''], 'policy', [1], {}, null, ['licenceKeys'], ['policy.nothing']])
    expect(read(wrong)).toThrowWithCode('trust_bundle.malformed');
});

test('a bundle for a later release says that it is for one', () => {
  expect(() => parseTrustBundle(JSON.stringify({ ...bundle, version: 2 }))).toThrow('newer release');
  expect(() => parseTrustBundle(JSON.stringify({ ...bundle, version: 2 }))).toThrowWithCode(
    'trust_bundle.newer_release',
  );
  for (const version of [0, '2', 1.5 - 1])
    expect(() => parseTrustBundle(JSON.stringify({ ...bundle, version }))).not.toThrow('newer release');
});

test('text that is no JSON is an error', () => {
  expect(() => parseTrustBundle('version: 1')).toThrowWithCode('trust_bundle.not_json');
});

test.each<[string, (bundle: TrustBundle) => unknown, string]>([
  ['an earlier version', (good) => ({ ...good, version: 0 }), 'version'],
  ['a version as text', (good) => ({ ...good, version: '2' }), 'version: '],
  ['a sequence below 0', (good) => ({ ...good, sequence: -1 }), 'sequence'],
  ['half a sequence', (good) => ({ ...good, sequence: 1.5 }), 'sequence'],
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
  ...(['x', 'y'] as const).flatMap((name): [string, (bundle: TrustBundle) => unknown, string][] => [
    [
      `${name} of a trust key with zeros before it`,
      (good) => ({ ...good, trustKey: { ...good.trustKey, [name]: `AAAA${good.trustKey[name]}` } }),
      `trustKey.${name}`,
    ],
    [
      `${name} of a trust key with padding behind it`,
      (good) => ({ ...good, trustKey: { ...good.trustKey, [name]: `${good.trustKey[name]}=` } }),
      `trustKey.${name}`,
    ],
  ]),
  ['a trust key on another curve', (good) => ({ ...good, trustKey: koblitzKey(good) }), 'trustKey.crv'],
  ...Object.entries({ kty: 'RSA', alg: 'ES384', use: 'enc', kid: '' }).map(
    ([name, value]): [string, (bundle: TrustBundle) => unknown, string] => [
      `a trust key of ${name} ${JSON.stringify(value)}`,
      (good) => ({ ...good, trustKey: { ...good.trustKey, [name]: value } }),
      `trustKey.${name}`,
    ],
  ),
  [
    'a trust key whose name is too long',
    (good) => ({ ...good, trustKey: { ...good.trustKey, kid: 'k'.repeat(129) } }),
    'trustKey.kid',
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
  ...[`x${DIGEST}`, `${DIGEST}00`, DIGEST.toUpperCase()].map(
    (digest): [string, (bundle: TrustBundle) => unknown, string] => [
      `image ${digest}`,
      (good) => ({ ...good, policy: { softwareTpm: 'allow', imageDigests: [digest] } }),
      'policy.imageDigests.0',
    ],
  ),
  [
    'more boot states than anybody compares',
    (good) => ({ ...good, policy: { ...good.policy, bootStates: bootStates(65) } }),
    'policy.bootStates',
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
  ...['a/b', '_a', 'a_', 'A', '', 'a..b', '-a', 'a\n', LONGEST_DOMAIN.concat('a')].map(
    (trustDomain): [string, (bundle: TrustBundle) => unknown, string] => [
      `trust domain ${JSON.stringify(trustDomain)}`,
      (good) => ({ ...good, trustDomain }),
      'trustDomain',
    ],
  ),
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

function bootStates(count: number): { name: string; pcrs: Record<string, string> }[] {
  return Array.from({ length: count }, (_, at) => ({ name: `state-${at}`, pcrs: { 7: 'ab'.repeat(32) } }));
}

/** A key whose numbers are as long as those of P-256. */
function koblitzKey({ trustKey }: TrustBundle): object {
  const { x, y } = generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey.export({ format: 'jwk' });
  return { ...trustKey, crv: 'secp256k1', x, y };
}

/** The same 32 bytes in base64url, with other bits behind them. */
function leftOver(coordinate: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const last = coordinate.at(-1) ?? '';
  const written = `${coordinate.slice(0, -1)}${alphabet[alphabet.indexOf(last) + 1]}`;
  expect(Buffer.from(written, 'base64url')).toEqual(Buffer.from(coordinate, 'base64url'));
  return written;
}
