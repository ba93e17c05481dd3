import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { claimsLeaf, encodeClaims } from '../../../attestation/evidence/claims';
import { verifyEvidence } from '../../../attestation/evidence/verify';
import { TPM_ALG } from '../../../attestation/tpm/constants';
import { pcrDigest, QUOTED_PCRS } from '../../../attestation/tpm/pcr';
import type { Evidence } from '../../../proto/gen/licensing/v1/evidence';
import { makeAuthority } from '../../support/authority';
import { ENCLAVE_CERTIFICATE, makeClaims, NODE, TRUST_DOMAIN, verifyOptions } from '../../support/evidence';
import type { FakeTpm } from '../../support/evidence';
import { startTestTpm } from '../../support/tpm';
import type { RealAk, TestTpm } from '../../support/tpm';
import { encodeAttest, encodeEcdsa } from '../../support/tpm-structures';
import { issueAttestationKeyCertificate } from '../../../licensing/authority/attestation-key';

const run = promisify(execFile);
const SECP256R1_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

let tpm: TestTpm;
let ak: RealAk;
let certified: FakeTpm;
let good: Evidence;

/** What a case changes in the good evidence: everything that tpm2_checkquote looks at. */
type Change = Partial<Pick<Evidence, 'attest' | 'signature' | 'pcrs' | 'claims'>>;

beforeAll(async () => {
  tpm = await startTestTpm();
  ak = await tpm.createAk();
  for (const pcr of [0, 2, 7])
    await tpm.tool('tpm2_pcrextend', '-Q', `${pcr}:sha256=${randomBytes(32).toString('hex')}`);
  certified = await certify(ak);
  good = await quoteClaims(ak, certified);
});
afterAll(() => tpm.stop());

async function certify(key: RealAk): Promise<FakeTpm> {
  const authority = await makeAuthority('attestation root');
  const akCertificate = await issueAttestationKeyCertificate({
    ca: authority,
    trustDomain: TRUST_DOMAIN,
    node: NODE,
    akPublic: key.public,
    details: { ekSha256: '00'.repeat(32), manufacturer: 'IBM', model: 'swtpm', firmware: '1', software: false },
    days: 1,
  });
  return { authority, node: NODE, akPublic: key.public, akCertificate, privateKey: undefined as never };
}

async function quoteClaims(key: RealAk, { akCertificate }: FakeTpm, selection?: string): Promise<Evidence> {
  const claims = encodeClaims(makeClaims());
  const quote = await tpm.quote(key, claimsLeaf(claims), { selection });
  return {
    attest: quote.attest,
    signature: quote.signature,
    akPublic: key.public,
    akCertificates: [akCertificate],
    pcrs: QUOTED_PCRS.map((index, at) => ({ index, sha256: quote.pcrs[at] as Buffer })),
    claims,
    leafIndex: 0,
    leafCount: 1,
    merklePath: [],
    enclaveCertificate: ENCLAVE_CERTIFICATE,
  };
}

const ours = (evidence: Evidence, by = certified): boolean => {
  try {
    verifyEvidence(evidence, verifyOptions(by));
    return true;
  } catch {
    return false;
  }
};

/** tpm2_checkquote on the same bytes; the root over the claims is its nonce. */
async function theirs(evidence: Evidence, key = ak): Promise<boolean> {
  const folder = await mkdtemp(join(tpm.folder, 'check-'));
  const file = async (name: string, bytes: Buffer): Promise<string> => {
    await writeFile(join(folder, name), bytes);
    return join(folder, name);
  };
  const args = ['-u', key.pemFile, '-g', 'sha256', '-q', claimsLeaf(evidence.claims).toString('hex')];
  args.push(
    '-m',
    await file('m', evidence.attest),
    '-s',
    await file('s', evidence.signature),
    '-f',
    await file('f', pcrFile(evidence)),
  );
  return run('tpm2_checkquote', ['-Q', ...args])
    .then(
      () => true,
      () => false,
    )
    .finally(() => rm(folder, { recursive: true }));
}

/** The file that tpm2_quote writes of PCR values: C structures as they are in memory, little-endian, room for 16 banks, lists of 8 digests of 64 bytes. */
function pcrFile({ pcrs }: Evidence): Buffer {
  const lists = Math.ceil(pcrs.length / 8);
  const bytes = Buffer.alloc(4 + 16 * 8 + 4 + lists * (4 + 8 * 66));
  bytes.writeUInt32LE(1, 0);
  bytes.writeUInt16LE(TPM_ALG.SHA256, 4);
  bytes.set([3, 0xff, 0xff, 0x80], 6);
  bytes.writeUInt32LE(lists, 132);
  pcrs.forEach(({ sha256 }, at) => {
    const list = 136 + (at >> 3) * 532;
    bytes.writeUInt32LE((at & 7) + 1, list);
    bytes.writeUInt16LE(32, list + 4 + (at & 7) * 66);
    bytes.set(sha256, list + 4 + (at & 7) * 66 + 2);
  });
  return bytes;
}

function flip(bytes: Buffer, bit: number): Buffer {
  const flipped = Buffer.from(bytes);
  flipped.writeUInt8((flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7)), bit >> 3);
  return flipped;
}

const value = (at: number, edit: (value: Buffer) => Buffer): Change => ({
  pcrs: good.pcrs.map((pcr, index) => (index === at ? { ...pcr, sha256: edit(pcr.sha256) } : pcr)),
});

test('both accept a genuine quote', async () => {
  expect([ours(good), await theirs(good)]).toEqual([true, true]);
});

test.each<[string, () => Change]>([
  ['a wrong nonce', () => ({ claims: encodeClaims(makeClaims()) })],
  ['a wrong value of PCR 0', () => value(0, () => Buffer.alloc(32))],
  ['a wrong value of PCR 23', () => value(16, (old) => flip(old, 255))],
  [
    'two values swapped',
    () => ({ pcrs: good.pcrs.map((pcr, at) => ({ ...pcr, sha256: good.pcrs[at ^ (at < 16 ? 1 : 0)]!.sha256 })) }),
  ],
  ['an empty signature', () => ({ signature: Buffer.alloc(0) })],
  [
    'an RSA algorithm before an EC signature',
    () => ({ signature: Buffer.concat([Buffer.from('0014', 'hex'), good.signature.subarray(2)]) }),
  ],
  ['r and s swapped', () => ({ signature: encodeEcdsa(good.signature.subarray(-32), good.signature.subarray(6, 38)) })],
  ['r and s zero', () => ({ signature: encodeEcdsa(Buffer.alloc(32), Buffer.alloc(32)) })],
  ['an empty quote', () => ({ attest: Buffer.alloc(0) })],
  ['a quote cut short', () => ({ attest: good.attest.subarray(0, -1) })],
  ['a byte after the quote', () => ({ attest: Buffer.concat([good.attest, Buffer.alloc(1)]) })],
])('both refuse %s', async (_, change) => {
  const broken = { ...good, ...change() };
  expect([ours(broken), await theirs(broken)]).toEqual([false, false]);
});

test('both take the other s of the same signature: ECDSA itself allows it, and it says nothing new', async () => {
  const s = SECP256R1_ORDER - BigInt(`0x${good.signature.subarray(-32).toString('hex')}`);
  const other = {
    ...good,
    signature: encodeEcdsa(good.signature.subarray(6, 38), Buffer.from(s.toString(16).padStart(64, '0'), 'hex')),
  };
  expect([ours(other), await theirs(other)]).toEqual([true, true]);
});

test('one bit flipped anywhere: the same verdict', async () => {
  const bits = (length: number): fc.Arbitrary<number> => fc.nat(length * 8 - 1);
  const change = fc.oneof(
    bits(good.attest.length).map((bit): Change => ({ attest: flip(good.attest, bit) })),
    bits(good.signature.length).map((bit): Change => ({ signature: flip(good.signature, bit) })),
    fc.tuple(fc.nat(16), bits(32)).map(([at, bit]): Change => value(at, (old) => flip(old, bit))),
  );
  await fc.assert(
    fc.asyncProperty(change, async (edit) => {
      const broken = { ...good, ...edit };
      expect([ours(broken), await theirs(broken)]).toEqual([false, false]);
    }),
    { numRuns: 150 },
  );
});

describe('stricter than tpm2_checkquote, on purpose', () => {
  test.each([
    'sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16',
    'sha256:0,1,2,3,4,5,6,7,23+sha1:23',
    'sha1:0,1,2,3,4,5,6,7,23',
  ])('a genuine quote of %s is refused for its selection', async (selection) => {
    const evidence = await quoteClaims(ak, certified, selection);
    expect(() => verifyEvidence(evidence, verifyOptions(certified))).toThrowWithCode('quote.pcr_selection');
  });

  test('AK attributes unchecked: an unrestricted key in a genuine TPM signs a forged TPMS_ATTEST, which only its attributes give away', async () => {
    const unrestricted = await tpm.createAk('sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth');
    const by = await certify(unrestricted);
    const attest = encodeAttest({
      extraData: claimsLeaf(good.claims),
      pcrDigest: pcrDigest(good.pcrs.map(({ sha256 }) => sha256)),
    });
    await writeFile(join(tpm.folder, 'forged'), attest);
    await tpm.tool(
      'tpm2_sign',
      '-Q',
      '-c',
      unrestricted.context,
      '-g',
      'sha256',
      '-f',
      'tss',
      '-o',
      'forged.sig',
      'forged',
    );
    await tpm.tool('tpm2_flushcontext', '-t');
    const forged = {
      ...good,
      attest,
      signature: await readFile(join(tpm.folder, 'forged.sig')),
      akPublic: unrestricted.public,
      akCertificates: [by.akCertificate],
    };
    expect(await theirs(forged, unrestricted)).toBe(true);
    expect(() => verifyEvidence(forged, verifyOptions(by))).toThrowWithCode('ak_attributes.attributes');
    // The same forgery beside the genuine key's public area and certificate is only a bad signature.
    expect(() =>
      verifyEvidence(
        { ...forged, akPublic: ak.public, akCertificates: [certified.akCertificate] },
        verifyOptions(certified),
      ),
    ).toThrowWithCode('signature.mismatch');
  });

  test('a restricted key refuses to sign a forged TPMS_ATTEST at all', async () => {
    await writeFile(join(tpm.folder, 'forged'), encodeAttest());
    await expect(
      tpm.tool('tpm2_sign', '-Q', '-c', ak.context, '-g', 'sha256', '-f', 'tss', '-o', 'forged.sig', 'forged'),
    ).rejects.toThrow();
    await tpm.tool('tpm2_flushcontext', '-t');
  });

  test('PCR 23 reset and extended by another process between: a quote that no verdict takes, and the next one is good', async () => {
    const claims = encodeClaims(makeClaims());
    const disturbed = await tpm.quote(ak, randomBytes(32), { extraData: claimsLeaf(claims) });
    const evidence = {
      ...good,
      claims,
      attest: disturbed.attest,
      signature: disturbed.signature,
      pcrs: QUOTED_PCRS.map((index, at) => ({ index, sha256: disturbed.pcrs[at] as Buffer })),
    };
    expect(() => verifyEvidence(evidence, verifyOptions(certified))).toThrowWithCode('root.pcr');
    expect(ours(await quoteClaims(ak, certified))).toBe(true);
  });
});
