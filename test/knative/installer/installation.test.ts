import {
  checkInstallation,
  installationJsonSchema,
  merge,
  PROGRAMS,
  readDraft,
  renderInstallation,
  withoutUnknown,
} from '../../../knative/installer/installation';
import type { Draft } from '../../../knative/installer/installation';
import { CONFIGURABLE, SETTINGS } from '../../../knative/installer/settings';

const images = Object.fromEntries(PROGRAMS.map((name) => [name, `registry.example/${name}@sha256:${'a'.repeat(64)}`]));
const least: Draft = { overlay: 'hardware-tpm', images };

test('the file that is kept says everything, with every setting in it, and reads as what it was made from', () => {
  const installation = checkInstallation({
    ...least,
    trustDomain: 'enclaves.example.org',
    ekRoots: { 'maker.pem': '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n' },
    oidc: { issuer: 'https://accounts.example.com', clientId: 'sls' },
    enclaveTemplate: 'a: 1 # mine\n',
    network: { apiPorts: [6443, 16443], denied: ['203.0.113.0/24', '2606:2800::/32'], ingressNamespaces: [] },
    settings: { login: { LICENCE_REQUIRED: true, DEFAULT_SEATS: 3 }, reaper: { UNUSED_DAYS: 0.5 } },
  });
  const text = renderInstallation(installation);
  expect(checkInstallation(readDraft(text, 'x'))).toEqual(installation);
  expect(installation.settings).toEqual({
    login: { LICENCE_REQUIRED: 'true', DEFAULT_SEATS: '3' },
    reaper: { UNUSED_DAYS: '0.5' },
  });
  for (const program of CONFIGURABLE)
    for (const [name, { about }] of Object.entries(SETTINGS[program]))
      expect(text).toMatch(new RegExp(`${name}: .*# ${about.replace(/[().]/g, '\\$&')}`));
});

test('a file of an installation that decides nothing but what it must reads back, too', () => {
  const installation = checkInstallation(least);
  expect(checkInstallation(readDraft(renderInstallation(installation), 'x'))).toEqual(installation);
  expect(installation).toMatchObject({ trustDomain: 'sls.local', softwareTpm: 'refuse', ekRoots: {}, settings: {} });
});

test('what a newer release decided is told from what this one knows', () => {
  const settings = { login: { DEFAULT_SEATS: '3', SHARE: '1' }, gateway: { A: '1' } };
  const newer = { ...least, mesh: { on: true }, network: { apiPorts: [1], ingress: 'x' }, settings };
  expect(() => checkInstallation(newer)).toThrow('mesh');
  const { draft, unknown } = withoutUnknown(newer);
  expect(unknown.sort()).toEqual(['mesh', 'network.ingress', 'settings.gateway', 'settings.login.SHARE']);
  expect(checkInstallation(draft)).toEqual(
    checkInstallation({ ...least, network: { apiPorts: [1] }, settings: { login: { DEFAULT_SEATS: '3' } } }),
  );
  expect(newer.settings.login.SHARE).toBe('1');
  expect(() => readDraft('apiVersion: licensing/v2', 'x')).toThrow(
    'x: apiVersion licensing/v2 needs a newer release of the installer',
  );
});

test('a change replaces what it names, adds what is new, takes away what it sets to null, and leaves the rest', () => {
  const before = { ...least, ekRoots: { a: '1' }, settings: { login: { DEFAULT_SEATS: '3', MAX_ENCLAVES: '5' } } };
  const change = {
    trustDomain: 'b',
    ekRoots: { b: '2' },
    settings: { login: { DEFAULT_SEATS: null, SEAT_SECONDS: '9' }, enrol: { CERTIFICATE_DAYS: '1' } },
  };
  expect(merge(before, change)).toEqual({
    ...least,
    trustDomain: 'b',
    ekRoots: { a: '1', b: '2' },
    settings: { login: { MAX_ENCLAVES: '5', SEAT_SECONDS: '9' }, enrol: { CERTIFICATE_DAYS: '1' } },
  });
  expect(before.settings.login).toEqual({ DEFAULT_SEATS: '3', MAX_ENCLAVES: '5' });
});

test.each<[string, Draft, RegExp]>([
  [
    'an address that is no network',
    { ...least, network: { denied: ['10.0.0.1'] } },
    /network\.denied\.0: expected networks/,
  ],
  ['a port that is none', { ...least, network: { apiPorts: [0] } }, /network\.apiPorts\.0: /],
  ['nothing', {}, /overlay: .*; images: /],
  [
    'an image by tag',
    { ...least, images: { ...images, login: 'x:1' } },
    /images\.login: expected REPOSITORY@sha256:HEX/,
  ],
  ['a program without an image', { ...least, images: { login: images['login'] } }, /images\.signup: /],
  ['a misspelt key', { ...least, trustdomain: 'x' }, /"trustdomain"/],
  [
    'a misspelt setting',
    { ...least, settings: { login: { LICENSE_REQUIRED: 'true' } } },
    /settings\.login: .*"LICENSE_REQUIRED"/,
  ],
  [
    'a setting of another program',
    { ...least, settings: { admin: { DEFAULT_SEATS: '3' } } },
    /settings\.admin: .*"DEFAULT_SEATS"/,
  ],
  [
    'a setting out of bounds',
    { ...least, settings: { login: { SEAT_SECONDS: '1' } } },
    /settings\.login\.SEAT_SECONDS: expected 3 to 3600/,
  ],
  ['a trust domain that is no name', { ...least, trustDomain: 'A b' }, /trustDomain: expected a DNS-like name/],
  ["a software TPM's folder without one", { ...least, tpmFolder: '/x' }, /tpmFolder: expected none/],
  ['an overlay by path', { ...least, overlay: '../x' }, /overlay: expected the name of a folder/],
  ['an issuer without a client', { ...least, oidc: { issuer: 'https://x.example' } }, /oidc\.clientId: /],
  ['an issuer over http', { ...least, oidc: { issuer: 'http://x.example', clientId: 'x' } }, /oidc\.issuer: /],
])('%s is refused before anything is applied, by its name', (_, draft, message) => {
  expect(() => checkInstallation(draft)).toThrowWithCode('installation.invalid', {
    message: expect.stringMatching(message),
  });
});

test.each([
  ['a: [', /YAML: .* \(line 2\)/],
  ['- a', /expected a mapping, got a list/],
  ['text', /expected a mapping, got string/],
])('a file that is %j is refused by its name', (text, message) => {
  expect(() => readDraft(text, 'mine.yaml')).toThrowWithCode('installation.invalid', {
    message: expect.stringMatching(message),
  });
  expect(() => readDraft(text, 'mine.yaml')).toThrow('mine.yaml');
});

test('an editor learns of every setting and its meaning', () => {
  const { properties } = installationJsonSchema() as {
    properties: Record<string, { description?: string; properties?: Record<string, { properties?: object }> }>;
  };
  expect(properties['trustDomain']?.description).toContain('all evidence');
  for (const program of CONFIGURABLE)
    expect(Object.keys(properties['settings']?.properties?.[program]?.properties ?? {})).toEqual(
      Object.keys(SETTINGS[program]),
    );
});
