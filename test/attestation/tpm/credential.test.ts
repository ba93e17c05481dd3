import { createHash, randomBytes } from 'node:crypto';
import { TPM_ALG } from '../../../attestation/tpm/constants';
import { makeCredential } from '../../../attestation/tpm/credential';
import { endorsementKeyHash, parseEndorsementKey } from '../../../attestation/tpm/endorsement';
import { parsePublic, publicName } from '../../../attestation/tpm/public';
import type { TpmPublic } from '../../../attestation/tpm/public';
import { startNodeTpm } from '../../support/node-tpm';
import type { NodeTpm } from '../../support/node-tpm';

let tpm: NodeTpm;
beforeAll(async () => {
  tpm = await startNodeTpm();
});
afterAll(() => tpm.stop());

const KINDS = ['rsa', 'ecc'] as const;
const AK = [
  '-G',
  'ecc256:ecdsa-sha256:null',
  '-a',
  'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign',
];

async function flush(): Promise<void> {
  for (const kind of ['-t', '-l', '-s']) await tpm.tool('tpm2_flushcontext', kind);
}

/** An EK, and a key that plays the attestation key. */
async function makeKeys(kind: 'rsa' | 'ecc'): Promise<{ ek: Buffer; ak: Buffer; name: Buffer }> {
  await flush();
  await tpm.tool('tpm2_createek', '-G', kind, '-c', 'ek.ctx', '-u', 'ek.pub');
  await flush();
  await tpm.tool('tpm2_createprimary', '-C', 'o', ...AK, '-c', 'ak.ctx');
  await tpm.tool('tpm2_readpublic', '-c', 'ak.ctx', '-f', 'tpmt', '-o', 'ak.tpmt');
  await flush();
  const ak = await tpm.read('ak.tpmt');
  return { ek: (await tpm.read('ek.pub')).subarray(2), ak, name: publicName(parsePublic(ak)) };
}

async function activate(credential: { credentialBlob: Buffer; encryptedSecret: Buffer }): Promise<Buffer> {
  await tpm.write(
    'credential',
    Buffer.concat([Buffer.from('badcc0de00000001', 'hex'), credential.credentialBlob, credential.encryptedSecret]),
  );
  await flush();
  await tpm.tool('tpm2_startauthsession', '--policy-session', '-S', 'session.ctx');
  await tpm.tool('tpm2_policysecret', '-S', 'session.ctx', '-c', 'e');
  await tpm.tool(
    'tpm2_activatecredential',
    '-c',
    'ak.ctx',
    '-C',
    'ek.ctx',
    '-i',
    'credential',
    '-o',
    'secret',
    '-P',
    'session:session.ctx',
  );
  return tpm.read('secret');
}

test.each(KINDS)('the TPM activates a credential that was made here for its %s endorsement key', async (kind) => {
  const { ek, name } = await makeKeys(kind);
  for (const length of [1, 32]) {
    const secret = randomBytes(length);
    expect(await activate(makeCredential(parseEndorsementKey(ek), name, secret))).toEqual(secret);
  }
});

test.each(KINDS)(
  'a credential for another key than the attestation key, or a changed one, is refused by the TPM (%s)',
  async (kind) => {
    const { ek, name } = await makeKeys(kind);
    const other = Buffer.concat([name.subarray(0, 2), createHash('sha256').update('another key').digest()]);
    await expect(activate(makeCredential(parseEndorsementKey(ek), other, randomBytes(32)))).rejects.toThrow(
      'integrity check failed',
    );
    const { credentialBlob, encryptedSecret } = makeCredential(parseEndorsementKey(ek), name, randomBytes(32));
    credentialBlob[40] = (credentialBlob[40] ?? 0) ^ 1;
    await expect(activate({ credentialBlob, encryptedSecret })).rejects.toThrow('integrity check failed');
  },
);

test.each(KINDS)('the structures have the form of those of tpm2_makecredential (%s)', async (kind) => {
  const { ek, name } = await makeKeys(kind);
  await tpm.write('plain', randomBytes(32));
  await tpm.tool(
    'tpm2_makecredential',
    '-T',
    'none',
    '-u',
    'ek.pub',
    '-s',
    'plain',
    '-n',
    name.toString('hex'),
    '-o',
    'theirs',
  );
  const theirs = (await tpm.read('theirs')).subarray(8);
  const ours = makeCredential(parseEndorsementKey(ek), name, randomBytes(32));
  expect(ours.credentialBlob.readUInt16BE(0)).toBe(theirs.readUInt16BE(0));
  expect(ours.credentialBlob.length + ours.encryptedSecret.length).toBe(theirs.length);
  const credentialBlob = theirs.subarray(0, ours.credentialBlob.length);
  expect(await activate({ credentialBlob, encryptedSecret: theirs.subarray(credentialBlob.length) })).toEqual(
    await tpm.read('plain'),
  );
});

test('a secret that does not fit, and a key that is no endorsement key, are refused', async () => {
  const { ek, ak, name } = await makeKeys('ecc');
  expect(() => makeCredential(parseEndorsementKey(ek), name, randomBytes(33))).toThrowWithCode('tpm.invalid');
  expect(() => makeCredential(parseEndorsementKey(ek), name, Buffer.alloc(0))).toThrowWithCode('tpm.invalid');
  expect(() => makeCredential(parsePublic(ak), name, randomBytes(32))).toThrowWithCode('tpm.unsupported');
});

describe('a storage key by other algorithms than the profile has', () => {
  const { AES, CFB, SHA256, SHA384, SHA512 } = TPM_ALG;
  const symmetric = { algorithm: AES, keyBits: 128, mode: CFB };
  const attempt = async (change: Partial<TpmPublic>): Promise<() => unknown> => {
    const { ek, name } = await makeKeys('ecc');
    return () => makeCredential({ ...parseEndorsementKey(ek), ...change } as TpmPublic, name, randomBytes(32));
  };

  test.each<[string, Partial<TpmPublic>]>([
    ['SHA-256 and AES-128-CFB', { nameAlgorithm: SHA256, symmetric }],
    ['SHA-384 and AES-256-CFB', { nameAlgorithm: SHA384, symmetric: { ...symmetric, keyBits: 256 } }],
  ])('%s: taken', async (_, change) => expect(await attempt(change)).not.toThrow());

  test.each<[string, Partial<TpmPublic>]>([
    ['none symmetric', { symmetric: undefined }],
    ['another cipher', { symmetric: { ...symmetric, algorithm: 0x0026 } }],
    ['another mode', { symmetric: { ...symmetric, mode: 0x0042 } }],
    ['keys too long for the hash', { symmetric: { ...symmetric, keyBits: 256 } }],
    ['keys too short for the hash', { nameAlgorithm: SHA384, symmetric }],
    ['another hash', { nameAlgorithm: SHA512, symmetric: { ...symmetric, keyBits: 256 } }],
    [
      'another hash, and no length of keys',
      { nameAlgorithm: SHA512, symmetric: { ...symmetric, keyBits: undefined } } as never,
    ],
  ])('%s: refused', async (_, change) => expect(await attempt(change)).toThrowWithCode('tpm.unsupported'));
});

test('an endorsement key has one public area: another way to write it is refused', async () => {
  const { ek, ak } = await makeKeys('rsa');
  expect(endorsementKeyHash(parseEndorsementKey(ek))).toBe(createHash('sha256').update(ek).digest('hex'));
  const unsupported = expect.objectContaining({ code: 'tpm.unsupported' });
  const exponent = Buffer.from(ek);
  exponent.writeUInt32BE(65537, exponent.length - 256 - 2 - 4);
  expect(parsePublic(exponent)).toMatchObject({ exponent: 65537 });
  expect(() => parseEndorsementKey(exponent)).toThrow(unsupported);
  const attributes = Buffer.from(ek);
  attributes.writeUInt32BE(0x000300f2, 4);
  expect(() => parseEndorsementKey(attributes)).toThrow(unsupported);
  expect(() => parseEndorsementKey(ak)).toThrow(unsupported);
});
