import 'reflect-metadata';
import { X509Certificate, generateKeyPairSync } from 'node:crypto';
import { Extension, KeyUsageFlags, SubjectAlternativeNameExtension } from '@peculiar/x509';
import {
  ATTESTATION_KEY_DETAILS,
  ATTESTATION_KEY_NAME,
  parseDetails,
  parseNodeUri,
  readAttestationKeyCertificate,
  verifyAttestationKeyChain,
} from '../../../attestation/certificates/attestation-key';
import { attestationKeyName, templateName } from '../../../attestation/tpm/attestation-key';
import { parsePublic } from '../../../attestation/tpm/public';
import { makeAuthority, makeLeaf } from '../../support/authority';
import { encodeEccPublic } from '../../support/tpm-structures';
import type { LeafOptions, TestAuthority } from '../../support/authority';
import { issueAttestationKeyCertificate } from '../../../licensing/authority/attestation-key';
import type { Code } from '../../../errors/codes';

const DAY = 86_400_000;
const details = {
  ekSha256: 'ab'.repeat(32),
  manufacturer: 'IBM',
  model: 'swtpm',
  firmware: '20240125',
  software: true,
};
const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const akPublic = encodeEccPublic(publicKey);

let ca: TestAuthority & { name: string };
beforeAll(async () => {
  ca = await makeAuthority('attestation root');
});

test('a certificate is issued, verified up to its root and read', async () => {
  const der = await issueAttestationKeyCertificate({
    ca,
    trustDomain: 'sls.local',
    node: 'node-1.example',
    akPublic,
    details,
    days: 7,
  });
  const read = verifyAttestationKeyChain([der], [ca.certificate], new Date());
  expect(read).toMatchObject({ trustDomain: 'sls.local', node: 'node-1.example', details });
  expect(read.publicKey.equals(publicKey)).toBe(true);
  expect(read.name).toEqual(attestationKeyName(parsePublic(akPublic)));
  expect(readAttestationKeyCertificate(der)).toMatchObject({ node: 'node-1.example', details });
});

test('OpenSSL reads the same names, purpose and key', async () => {
  const der = await issueAttestationKeyCertificate({
    ca,
    trustDomain: 'sls.local',
    node: 'node-1',
    akPublic,
    details,
    days: 7,
  });
  const certificate = new X509Certificate(der);
  expect(certificate.subjectAltName).toBe('URI:spiffe://sls.local/node/node-1');
  expect(certificate.keyUsage).toEqual(['2.23.133.8.3']);
  expect(certificate.ca).toBe(false);
  expect(certificate.publicKey.equals(publicKey)).toBe(true);
});

test('it works under a P-384 authority', async () => {
  const strong = await makeAuthority('strong', { namedCurve: 'P-384' });
  const der = await issueAttestationKeyCertificate({
    ca: strong,
    trustDomain: 'sls.local',
    node: 'node-1',
    akPublic,
    details,
    days: 7,
  });
  expect(() => verifyAttestationKeyChain([der], [strong.certificate], new Date())).not.toThrow();
});

test('serial numbers differ, and the life ends with the authority at the latest', async () => {
  const short = await makeAuthority('short', { notAfter: new Date(Math.floor(Date.now() / 1000) * 1000 + DAY) });
  const issue = (): Promise<Buffer> =>
    issueAttestationKeyCertificate({ ca: short, trustDomain: 'sls.local', node: 'a', akPublic, details, days: 7 });
  const [one, two] = [new X509Certificate(await issue()), new X509Certificate(await issue())];
  expect(one.serialNumber).not.toBe(two.serialNumber);
  expect(one.validTo).toBe(new X509Certificate(short.certificate).validTo);
});

test('a node name of 253 characters is taken', async () => {
  const node = `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(61)}`;
  const der = await issueAttestationKeyCertificate({
    ca,
    trustDomain: 'sls.local',
    node,
    akPublic,
    details: { ...details, model: 'é'.repeat(64) },
    days: 1,
  });
  expect(verifyAttestationKeyChain([der], [ca.certificate], new Date())).toMatchObject({
    node,
    details: { model: 'é'.repeat(64) },
  });
});

describe('names: `../`, `a/b`, NUL, newline, `A_b`: no certificate is issued', () => {
  test.each([
    '',
    '..',
    '../a',
    'a/b',
    'a\0',
    'a\n',
    'A',
    'a_b',
    '-a',
    'a-',
    'a..b',
    'a%2f',
    'a b',
    'é',
    'a'.repeat(64),
    `${'a.'.repeat(127)}a`,
  ])('%j', async (node) => {
    const request = { ca, akPublic, details, days: 1 };
    await expect(issueAttestationKeyCertificate({ ...request, trustDomain: 'sls.local', node })).toRejectWithCode(
      'certificate.name',
    );
    await expect(issueAttestationKeyCertificate({ ...request, trustDomain: node, node: 'a' })).toRejectWithCode(
      'certificate.name',
    );
  });
});

test.each([
  ['a hash that is none', { ...details, ekSha256: 'xyz' }],
  ['a hash that is too long at its end', { ...details, ekSha256: `${details.ekSha256}0` }],
  ['a hash that is too long at its start', { ...details, ekSha256: `0${details.ekSha256}` }],
  ['a long manufacturer', { ...details, manufacturer: 'a'.repeat(65) }],
  ['a long firmware', { ...details, firmware: 'a'.repeat(65) }],
  ['a long text', { ...details, model: 'a'.repeat(65) }],
])('details with %s: no certificate is issued', async (_, wrong) => {
  const request = { ca, trustDomain: 'sls.local', node: 'a', akPublic, days: 1 };
  await expect(issueAttestationKeyCertificate({ ...request, details: wrong })).toRejectWithCode('certificate.details');
});

test('details that are wrong are refused by the names of their fields, or as a whole', () => {
  expect(() => parseDetails({ ...details, model: 5, software: 'no' })).toThrow(/in: model, software$/);
  expect(() => parseDetails('details')).toThrow(/in: invalid_type$/);
});

test('a trust domain of the longest DNS name is taken, and none that is longer', () => {
  const longest = `${'a.'.repeat(126)}a`;
  expect(parseNodeUri(`spiffe://${longest}/node/a`)).toEqual({ trustDomain: longest, node: 'a' });
  expect(() => parseNodeUri(`spiffe://a${longest}/node/a`)).toThrowWithCode('certificate.name');
});

describe('certificates of the authority that are no attestation key certificates', () => {
  const name = new SubjectAlternativeNameExtension([{ type: 'url', value: 'spiffe://sls.local/node/a' }]);
  const utf8 = (text: string): Buffer => Buffer.concat([Buffer.from([0x0c, 0x81, text.length]), Buffer.from(text)]);
  const detailed = (value: Buffer): Extension => new Extension(ATTESTATION_KEY_DETAILS, false, new Uint8Array(value));
  const good = detailed(utf8(JSON.stringify(details)));

  test('the same made by hand is taken', async () => {
    const der = await makeLeaf(ca, { extensions: [name, good] });
    expect(verifyAttestationKeyChain([der], [ca.certificate], new Date())).toMatchObject({ node: 'a', details });
  });

  test.each<[string, LeafOptions, string]>([
    ['no name', { extensions: [good] }, 'certificate.name'],
    [
      'a DNS name',
      { extensions: [new SubjectAlternativeNameExtension([{ type: 'dns', value: 'a' }]), good] },
      'certificate.name',
    ],
    [
      "a node's URI in a DNS name",
      {
        extensions: [new SubjectAlternativeNameExtension([{ type: 'dns', value: 'spiffe://sls.local/node/a' }]), good],
      },
      'certificate.name',
    ],
    [
      'two names',
      {
        extensions: [
          new SubjectAlternativeNameExtension(
            [...'ab'].map((node) => ({ type: 'url', value: `spiffe://sls.local/node/${node}` })),
          ),
          good,
        ],
      },
      'certificate.name',
    ],
    [
      "a user's name",
      {
        extensions: [
          new SubjectAlternativeNameExtension([{ type: 'url', value: 'spiffe://sls.local/user/a/session/b' }]),
          good,
        ],
      },
      'certificate.name',
    ],
    ['no details', { extensions: [name] }, 'certificate.details'],
    ['details that are no text', { extensions: [name, detailed(Buffer.from('0500', 'hex'))] }, 'certificate.details'],
    ['details that are no JSON', { extensions: [name, detailed(utf8('x'.repeat(128)))] }, 'certificate.details'],
    [
      'details with bytes after them',
      { extensions: [name, detailed(Buffer.concat([utf8(JSON.stringify(details)), Buffer.alloc(1)]))] },
      'certificate.details',
    ],
    ['another key usage', { keyUsages: KeyUsageFlags.keyAgreement, extensions: [name, good] }, 'certificate.usage'],
    [
      "a client certificate's purpose",
      { usages: ['1.3.6.1.5.5.7.3.2'], extensions: [name, good] },
      'certificate.usage',
    ],
  ])('%s', async (_, options, reason) => {
    const der = await makeLeaf(ca, options);
    expect(() => verifyAttestationKeyChain([der], [ca.certificate], new Date())).toThrowWithCode(reason as Code);
  });
});

describe("the key's Name", () => {
  const uri = new SubjectAlternativeNameExtension([{ type: 'url', value: 'spiffe://sls.local/node/a' }]);
  const json = Buffer.from(JSON.stringify(details));
  const about = new Extension(
    ATTESTATION_KEY_DETAILS,
    false,
    Buffer.concat([Buffer.from([0x0c, 0x81, json.length]), json]),
  );
  const spki = publicKey.export({ format: 'der', type: 'spki' });
  const withName = (...names: string[]): Promise<Buffer> =>
    makeLeaf(ca, {
      publicKey: spki,
      extensions: [
        uri,
        about,
        ...names.map((hex) => new Extension(ATTESTATION_KEY_NAME, false, Buffer.from(hex, 'hex'))),
      ],
    });

  test("of a certificate that names none is that of the attestor's template", async () => {
    const { name } = readAttestationKeyCertificate(await withName());
    expect(name).toEqual(templateName(publicKey));
    expect(name).toEqual(attestationKeyName(parsePublic(akPublic)));
    expect(templateName(generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey)).toBeUndefined();
    expect(templateName(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey)).toBeUndefined();
  });

  test.each([
    ['of another hash', `0422000c${'00'.repeat(32)}`],
    ['too short', `0421000b${'00'.repeat(31)}`],
    ['too long', `0423000b${'00'.repeat(33)}`],
    ['with bytes behind it', `0422000b${'00'.repeat(32)}00`],
    ['of another type', `0322000b${'00'.repeat(32)}`],
    ['empty', ''],
  ])('%s: refused', async (_, hex) => {
    const certificate = await withName(hex);
    expect(() => readAttestationKeyCertificate(certificate)).toThrowWithCode('certificate.details');
  });

  test('twice: refused', async () => {
    const hex = `0422000b${'00'.repeat(32)}`;
    const certificate = await withName(hex, hex);
    expect(() => readAttestationKeyCertificate(certificate)).toThrowWithCode('certificate.malformed');
  });
});
