import { createPublicKey } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { TPM_ALG } from '../../../attestation/tpm/constants';
import { pcrDigest, QUOTED_PCRS, quotedPcrs, rootPcrValue } from '../../../attestation/tpm/pcr';
import { hasAttribute, parsePublic, publicKeyObject, publicName } from '../../../attestation/tpm/public';
import { parseQuote } from '../../../attestation/tpm/quote';
import { parseSignature, verifyEcdsaP256 } from '../../../attestation/tpm/signature';
import { startTestTpm } from '../../support/tpm';
import type { RealAk, TestTpm } from '../../support/tpm';

let tpm: TestTpm;
let ak: RealAk;
beforeAll(async () => {
  tpm = await startTestTpm();
  ak = await tpm.createAk();
});
afterAll(() => tpm.stop());

const root = Buffer.alloc(32, 0xab);

test("a TPM's own quote is read and verified", async () => {
  const { attest, signature, pcrs } = await tpm.quote(ak, root);
  const quote = parseQuote(attest);
  expect(quote.extraData).toEqual(root);
  expect(quote.clockInfo.safe).toBe(true);
  expect(quotedPcrs(quote.pcrSelections)).toBe(QUOTED_PCRS);
  expect(pcrDigest(pcrs)).toEqual(quote.pcrDigest);
  expect(pcrs.at(-1)).toEqual(rootPcrValue(root));
  const key = publicKeyObject(parsePublic(ak.public));
  expect(verifyEcdsaP256(key, parseSignature(signature), attest)).toBe(true);
  expect(verifyEcdsaP256(key, parseSignature(signature), Buffer.concat([attest, Buffer.alloc(1)]))).toBe(false);
});

test('public key, Name and attributes are those that tpm2-tools report', async () => {
  const key = parsePublic(ak.public);
  expect(publicKeyObject(key).equals(createPublicKey(await readFile(ak.pemFile)))).toBe(true);
  const report = await tpm.tool('tpm2_readpublic', '-c', ak.context);
  await tpm.tool('tpm2_flushcontext', '-t');
  expect(publicName(key).toString('hex')).toBe(/name: ([0-9a-f]+)/.exec(report)?.[1]);
  expect(key.attributes).toBe(Number(/attributes:\n.*\n *raw: (0x[0-9a-f]+)/.exec(report)?.[1]));
  expect(hasAttribute(key, 'restricted')).toBe(true);
});

test.each(['rsa', 'ecc'])('the default %s endorsement key is read, with its AES parameters', async (algorithm) => {
  const name = `${tpm.folder}/ek-${algorithm}`;
  await tpm.tool('tpm2_createek', '-Q', '-G', algorithm, '-c', `${name}.ctx`, '-f', 'tpmt', '-u', name);
  await tpm.tool('tpm2_flushcontext', '-t');
  const key = parsePublic(await readFile(name));
  expect(key).toMatchObject({
    type: algorithm,
    symmetric: { algorithm: TPM_ALG.AES, keyBits: 128, mode: TPM_ALG.CFB },
  });
  expect(key.authPolicy.length).toBe(32);
  expect(hasAttribute(key, 'decrypt') && hasAttribute(key, 'restricted') && !hasAttribute(key, 'sign')).toBe(true);
  expect(() => publicKeyObject(key)).not.toThrow();
});

test('an RSA attestation key and its signature are recognised', async () => {
  const rsa = await tpm.createAk(undefined, 'rsa2048:rsassa-sha256:null');
  const { signature } = await tpm.quote(rsa, root);
  expect(parsePublic(rsa.public)).toMatchObject({
    type: 'rsa',
    keyBits: 2048,
    scheme: { algorithm: TPM_ALG.RSASSA, hash: TPM_ALG.SHA256 },
  });
  expect(parseSignature(signature)).toMatchObject({ algorithm: 'rsassa', hash: TPM_ALG.SHA256 });
});

test('a selection of another bank, or of fewer PCRs, is told apart', async () => {
  for (const selection of [
    'sha1:0,1,2,3,4,5,6,7,23',
    'sha256:0,1,2',
    'sha256:0,1,2,3,4,5,6,7,16',
    'sha256:0,1,2,3,4,5,6,7,8,23',
    'sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,23+sha1:0',
  ]) {
    const { attest } = await tpm.quote(ak, root, { selection });
    expect(quotedPcrs(parseQuote(attest).pcrSelections)).toBeUndefined();
  }
});
