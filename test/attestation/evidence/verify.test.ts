import 'reflect-metadata';
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { Extension, SubjectAlternativeNameExtension } from '@peculiar/x509';
import { DER, encodeDer } from '../../../attestation/bytes/der';
import { ATTESTATION_KEY_DETAILS, ATTESTATION_KEY_NAME } from '../../../attestation/certificates/attestation-key';
import type { EvidenceError } from '../../../attestation/evidence/errors';
import { STEPS } from '../../../attestation/evidence/errors';
import { verifyEvidence } from '../../../attestation/evidence/verify';
import type { PassedStep, VerifyOptions } from '../../../attestation/evidence/verify';
import { TPM_ALG, TPM_ECC_CURVE, TPM_ST_ATTEST_CERTIFY, TPMA_OBJECT } from '../../../attestation/tpm/constants';
import { QUOTED_PCRS } from '../../../attestation/tpm/pcr';
import { Claims, Purpose } from '../../../proto/gen/licensing/v1/evidence';
import { attestationKeyName } from '../../../attestation/tpm/attestation-key';
import { parsePublic, publicKeyObject } from '../../../attestation/tpm/public';
import { makeAuthority, makeLeaf } from '../../support/authority';
import {
  expectedOf,
  makeClaims,
  makeEvidence,
  makeFakeTpm,
  NODE,
  TRUST_DOMAIN,
  verifyOptions,
} from '../../support/evidence';
import type { EvidenceOptions, FakeTpm } from '../../support/evidence';
import {
  AK_ATTRIBUTES,
  encodeAttest,
  encodeEccPublic,
  encodeEcdsa,
  encodeRsaPublic,
  sized,
  u16,
  u8,
} from '../../support/tpm-structures';
import { issueAttestationKeyCertificate } from '../../../licensing/authority/attestation-key';

const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();
const others = [Buffer.from('one'), Buffer.from('two'), Buffer.from('three')];

let tpm: FakeTpm;
beforeAll(async () => {
  tpm = await makeFakeTpm();
});

function refusal(code: string): Error {
  const [step] = code.split('.');
  return expect.objectContaining({ name: step === 'policy' ? 'PolicyError' : 'EvidenceError', step, code });
}

/** What the caller expects otherwise than the claims say; all else is as they say. */
type Differs = Record<string, unknown>;

/** Verifies, and expects a refusal with this code, all steps before it having passed. */
function expectRefused(
  code: string,
  options: EvidenceOptions,
  { differs, ...other }: Partial<VerifyOptions> & { differs?: Differs } = {},
  by: FakeTpm = tpm,
): void {
  const passed: string[] = [];
  const evidence = makeEvidence(by, options);
  const expected = differs && { expected: expectedOf(Claims.decode(evidence.claims), differs) };
  const verify = (): unknown =>
    verifyEvidence(evidence, verifyOptions(by, { ...expected, ...other, onStep: ({ step }) => passed.push(step) }));
  expect(verify).toThrow(refusal(code));
  const steps = Object.keys(STEPS);
  expect(passed).toEqual(steps.slice(0, steps.indexOf(code.split('.')[0] ?? '')));
}

test('good evidence passes every step, in the order of trust, each explained', () => {
  const steps: PassedStep[] = [];
  const claims = makeClaims();
  const verified = verifyEvidence(
    makeEvidence(tpm, { claims, leavesBefore: others, leavesAfter: others }),
    verifyOptions(tpm, {
      expected: expectedOf(claims),
      policy: { softwareTpm: 'refuse', imageDigests: [claims.imageDigest], nodes: ['node-a'] },
      onStep: (step) => steps.push(step),
    }),
  );
  expect(verified).toMatchObject({ claims, warnings: [], attestationKey: { certificate: { node: 'node-a' } } });
  expect(steps.map(({ step }) => step)).toEqual(Object.keys(STEPS));
  for (const { title, detail } of steps) expect(`${title}: ${detail}`).not.toMatch(/undefined|: $/);
});

test("a session's evidence passes with this session's exporter", () => {
  const tlsExporter = randomBytes(32);
  const evidence = makeEvidence(tpm, { claims: { purpose: Purpose.PURPOSE_SESSION, tlsExporter } });
  const expected = expectedOf(Claims.decode(evidence.claims));
  expect(expected).toMatchObject({ situation: 'session', tlsExporter });
  expect(verifyEvidence(evidence, verifyOptions(tpm, { expected })).claims.tlsExporter).toEqual(tlsExporter);
});

test("a seat's evidence is a session's, of this client and user; which session, its verified claims say", () => {
  const claims = { purpose: Purpose.PURPOSE_SESSION, tlsExporter: randomBytes(32) };
  const { clientKeySha256, user } = makeClaims();
  const expected = { situation: 'seat', clientKeySha256, user } as const;
  const verified = verifyEvidence(makeEvidence(tpm, { claims }), verifyOptions(tpm, { expected }));
  expect(verified.claims.tlsExporter).toEqual(claims.tlsExporter);
  const other = { clientKeySha256: Buffer.alloc(32), user: 'somebody else' };
  expectRefused('freshness.purpose', {}, { expected });
  expectRefused(
    'identity.client_key',
    { claims },
    { expected: { ...expected, clientKeySha256: other.clientKeySha256 } },
  );
  expectRefused('identity.user', { claims }, { expected: { ...expected, user: other.user } });
});

describe('AK certificate', () => {
  test('signature or chain not checked: a chain to another root is refused', async () => {
    const stranger = await makeAuthority('attestation root');
    expectRefused(
      'ak_certificate.untrusted',
      {},
      { trust: { attestationRoots: [stranger.certificate], trustDomain: 'sls.test' } },
    );
  });
  test('no certificate', () => expectRefused('ak_certificate.malformed', { after: { akCertificates: [] } }));
  test('bytes that are no certificate', () =>
    expectRefused('ak_certificate.malformed', { after: { akCertificates: [Buffer.from('x')] } }));
  test('bytes after the certificate', () => {
    expectRefused('ak_certificate.malformed', {
      after: { akCertificates: [Buffer.concat([tpm.akCertificate, Buffer.alloc(1)])] },
    });
  });
  test('a certificate that has ended, or not begun', () => {
    const day = 86_400_000;
    expectRefused('ak_certificate.expired', {}, { now: new Date(Date.now() + 8 * day) });
    expectRefused('ak_certificate.not_yet_valid', {}, { now: new Date(Date.now() - day / 2) });
  });
  test('another trust domain', () => {
    expectRefused(
      'ak_certificate.trust_domain',
      {},
      { trust: { attestationRoots: [tpm.authority.certificate], trustDomain: 'else.test' } },
    );
  });
  test.each([
    ['that binds no public area, of a key that is not of the template', false, 'ak_certificate.public_area'],
    ['that binds the public area of a key on another curve', true, 'ak_attributes.algorithm'],
  ])('a certificate %s', async (_, isBound, code) => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
    const json = Buffer.from(
      JSON.stringify({ ekSha256: 'ab'.repeat(32), manufacturer: 'A', model: '', firmware: '', software: false }),
    );
    const name = `spiffe://${TRUST_DOMAIN}/node/${NODE}`;
    const akPublic = encodeEccPublic(publicKey, { curve: TPM_ECC_CURVE.P384 });
    const bound = encodeDer(DER.OCTET_STRING, attestationKeyName(parsePublic(akPublic)));
    const akCertificate = await makeLeaf(tpm.authority, {
      publicKey: publicKey.export({ format: 'der', type: 'spki' }),
      extensions: [
        new SubjectAlternativeNameExtension([{ type: 'url', value: name }]),
        new Extension(ATTESTATION_KEY_DETAILS, false, encodeDer(DER.UTF8_STRING, json)),
        ...(isBound ? [new Extension(ATTESTATION_KEY_NAME, false, bound)] : []),
      ],
    });
    expectRefused(code, {}, {}, { ...tpm, privateKey, akPublic, akCertificate });
  });
  test("a genuine certificate beside somebody else's key", async () => {
    const other = await makeFakeTpm({ authority: tpm.authority });
    expectRefused('ak_certificate.key_mismatch', { signer: other.privateKey, after: { akPublic: other.akPublic } });
  });
  test('a public area that is malformed or weak', () => {
    expectRefused('ak_certificate.malformed', { after: { akPublic: tpm.akPublic.subarray(0, 80) } });
    expectRefused('ak_certificate.malformed', { after: { akPublic: Buffer.concat([tpm.akPublic, Buffer.alloc(1)]) } });
    expectRefused('ak_certificate.unsupported', { after: { akPublic: Buffer.from('0008000b', 'hex') } });
    const p192 = Buffer.from(tpm.akPublic);
    p192.writeUInt16BE(TPM_ECC_CURVE.P192, 2 + 2 + 4 + 2 + 2 + 4);
    expectRefused('ak_certificate.weak_key', { after: { akPublic: p192 } });
  });
});

describe('the public area is the certified one, to the bit', () => {
  const flipped = (area: Buffer, bit: number): Buffer => {
    const changed = Buffer.from(area);
    changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    return changed;
  };
  const codeOf = (akPublic: Buffer, by = tpm): string => {
    try {
      verifyEvidence(makeEvidence(by, { after: { akPublic } }), verifyOptions(by));
    } catch (error) {
      return (error as EvidenceError).code;
    }
    return 'accepted';
  };

  test('each bit of it flipped: refused in the first step', () => {
    for (let bit = 0; bit < tpm.akPublic.length * 8; bit++)
      expect(codeOf(flipped(tpm.akPublic, bit))).toMatch(/^ak_certificate\./);
  });

  test.each(['noDA', 'stClear', 'adminWithPolicy', 'userWithAuth', 'encryptedDuplication', 'decrypt'] as const)(
    'attribute %s written in another way than it was certified: refused',
    (attribute) => {
      const changed = Buffer.from(tpm.akPublic);
      changed.writeUInt32BE(changed.readUInt32BE(4) ^ TPMA_OBJECT[attribute], 4);
      expect(codeOf(changed)).toBe('ak_certificate.public_area');
    },
  );

  test('coordinates with a zero before them, a policy, another name algorithm: refused', () => {
    const at = tpm.akPublic.length - 68;
    const longer = Buffer.concat([tpm.akPublic.subarray(0, at), u16(33), u8(0), tpm.akPublic.subarray(at + 2)]);
    expect(codeOf(longer)).toBe('ak_certificate.malformed');
    const policy = Buffer.concat([tpm.akPublic.subarray(0, 8), sized(Buffer.alloc(32)), tpm.akPublic.subarray(10)]);
    expect(codeOf(policy)).toBe('ak_certificate.public_area');
    const sha384 = Buffer.from(tpm.akPublic);
    sha384.writeUInt16BE(TPM_ALG.SHA384, 2);
    expect(codeOf(sha384)).toBe('ak_certificate.unsupported');
  });

  test('by a certificate of an earlier release, which binds the key alone: the template or nothing', async () => {
    const old: FakeTpm = { ...tpm, akCertificate: await withoutName(tpm) };
    expect(codeOf(tpm.akPublic, old)).toBe('accepted');
    for (let bit = 0; bit < tpm.akPublic.length * 8; bit++)
      expect(codeOf(flipped(tpm.akPublic, bit), old)).toMatch(/^ak_certificate\./);
  });
});

/** The same certificate as earlier releases issued it. */
function withoutName({ authority, akPublic }: FakeTpm): Promise<Buffer> {
  const json = Buffer.from(
    JSON.stringify({ ekSha256: 'ab'.repeat(32), manufacturer: 'TEST', model: 'fake', firmware: '1', software: false }),
  );
  const details = Buffer.concat([Buffer.from([0x0c, 0x81, json.length]), json]);
  return makeLeaf(authority, {
    publicKey: publicKeyObject(parsePublic(akPublic)).export({ format: 'der', type: 'spki' }),
    extensions: [
      new SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://${TRUST_DOMAIN}/node/${NODE}` }]),
      new Extension(ATTESTATION_KEY_DETAILS, false, details),
    ],
  });
}

describe('AK attributes', () => {
  test.each(['restricted', 'sign', 'fixedTPM', 'fixedParent', 'sensitiveDataOrigin'] as const)(
    'a key that is not %s is refused',
    async (attribute) => {
      const other = await makeFakeTpm({
        authority: tpm.authority,
        public: { attributes: AK_ATTRIBUTES & ~TPMA_OBJECT[attribute] },
      });
      expectRefused('ak_attributes.attributes', {}, {}, other);
    },
  );
  test('a key that may decrypt is refused', async () => {
    const other = await makeFakeTpm({
      authority: tpm.authority,
      public: { attributes: AK_ATTRIBUTES | TPMA_OBJECT.decrypt },
    });
    expectRefused('ak_attributes.attributes', {}, {}, other);
  });
  test.each([
    ['no scheme of its own', { scheme: TPM_ALG.ECDH }],
    ['SHA-1', { hash: TPM_ALG.SHA1 }],
    ['SHA-384', { hash: TPM_ALG.SHA384 }],
  ])('a key with %s is refused', async (_, area) => {
    const other = await makeFakeTpm({ authority: tpm.authority, public: area });
    expectRefused('ak_attributes.algorithm', {}, {}, other);
  });
});

describe('signature', () => {
  test('signature not checked: valid magic and extraData, random signature: refused', () => {
    expectRefused('signature.mismatch', { after: { signature: encodeEcdsa(randomBytes(32), randomBytes(32)) } });
  });
  test('a signature by another key, and one over other bytes', () => {
    expectRefused('signature.mismatch', { signer: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey });
    expectRefused('signature.mismatch', { after: { attest: encodeAttest() } });
  });
  test('an RSA signature with an EC key: an error, not a crash', () => {
    expectRefused('signature.unsupported', {
      after: { signature: Buffer.concat([u16(TPM_ALG.RSASSA), u16(TPM_ALG.SHA256), sized(Buffer.alloc(256, 1))]) },
    });
  });
  test('a malformed signature', () => {
    expectRefused('signature.malformed', { after: { signature: Buffer.alloc(0) } });
    expectRefused('signature.malformed', {
      after: { signature: Buffer.concat([encodeEcdsa(Buffer.alloc(32, 1), Buffer.alloc(32, 1)), Buffer.alloc(1)]) },
    });
  });
  test('more signed bytes than any quote has', () =>
    expectRefused('signature.malformed', { attestBytes: Buffer.alloc(1025) }));
  test('as many bytes as are looked at, signed', () =>
    expectRefused('quote.magic', { attestBytes: Buffer.alloc(1024) }));
});

describe('quote', () => {
  test('magic not checked: magic 0, validly signed by an unrestricted key: refused', () =>
    expectRefused('quote.magic', { attest: { magic: 0 } }));
  test('type not checked: type CERTIFY (0x8017), validly signed: refused', () => {
    expectRefused('quote.type', { attest: { type: TPM_ST_ATTEST_CERTIFY } });
  });
  test('trailing bytes inside the signature', () =>
    expectRefused('quote.malformed', { attest: { trailing: Buffer.alloc(1) } }));

  describe('PCR selection not checked', () => {
    test.each([
      ['empty selection', []],
      ['a bank with no PCRs', [{ hash: TPM_ALG.SHA256, pcrs: [] }]],
      ['one PCR missing', [{ hash: TPM_ALG.SHA256, pcrs: QUOTED_PCRS.filter((pcr) => pcr !== 4) }]],
      ['PCR 23 missing', [{ hash: TPM_ALG.SHA256, pcrs: QUOTED_PCRS.filter((pcr) => pcr !== 23) }]],
      [
        'another PCR with the same value',
        [{ hash: TPM_ALG.SHA256, pcrs: QUOTED_PCRS.map((pcr) => (pcr === 23 ? 16 : pcr)) }],
      ],
      ['one PCR more', [{ hash: TPM_ALG.SHA256, pcrs: [...QUOTED_PCRS, 16] }]],
      ['SHA-1 bank', [{ hash: TPM_ALG.SHA1, pcrs: QUOTED_PCRS }]],
      [
        'SHA-1 bank beside',
        [
          { hash: TPM_ALG.SHA256, pcrs: QUOTED_PCRS },
          { hash: TPM_ALG.SHA1, pcrs: QUOTED_PCRS },
        ],
      ],
      [
        'SHA-256 bank twice',
        [
          { hash: TPM_ALG.SHA256, pcrs: QUOTED_PCRS },
          { hash: TPM_ALG.SHA256, pcrs: QUOTED_PCRS },
        ],
      ],
    ])('%s: refused', (_, pcrSelections) => expectRefused('quote.pcr_selection', { attest: { pcrSelections } }));
  });
});

describe('PCR digest', () => {
  const values = (edit: (values: { index: number; sha256: Buffer }[]) => unknown): EvidenceOptions => {
    const { pcrs } = makeEvidence(tpm);
    edit(pcrs);
    return { after: { pcrs } };
  };
  test('another value beside the quote', () =>
    expectRefused(
      'pcr_digest.mismatch',
      values((pcrs) => (pcrs[0]!.sha256 = Buffer.alloc(32, 1))),
    ));
  test('a signed digest of other values', () =>
    expectRefused('pcr_digest.mismatch', { attest: { pcrDigest: Buffer.alloc(32, 1) } }));
  test('a value missing, one twice, one of another index, one too short, another order', () => {
    expectRefused(
      'pcr_digest.values',
      values((pcrs) => pcrs.pop()),
    );
    expectRefused(
      'pcr_digest.values',
      values((pcrs) => pcrs.push(pcrs[16]!)),
    );
    expectRefused(
      'pcr_digest.values',
      values((pcrs) => (pcrs[16]!.index = 16)),
    );
    expectRefused(
      'pcr_digest.values',
      values((pcrs) => (pcrs[0]!.sha256 = Buffer.alloc(31))),
    );
    expectRefused(
      'pcr_digest.values',
      values((pcrs) => pcrs.reverse()),
    );
    expectRefused('pcr_digest.values', { after: { pcrs: [] } });
  });
  test('values cut at other places than 32 bytes hash to the same digest, and are refused', () => {
    expectRefused(
      'pcr_digest.values',
      values((pcrs) => {
        const joined = Buffer.concat([pcrs[0]!.sha256, pcrs[1]!.sha256]);
        pcrs[0]!.sha256 = joined.subarray(0, 16);
        pcrs[1]!.sha256 = joined.subarray(16);
      }),
    );
  });
});

describe('root', () => {
  test('PCR 23 reset and extended by another process: refused, whatever the PCR says', () => {
    expectRefused('root.pcr', { pcr23: Buffer.alloc(32) });
    expectRefused('root.pcr', { pcr23: sha256(Buffer.alloc(64)) });
  });
  test('qualifying data of another root: refused, whatever PCR 23 says', () => {
    expectRefused('root.qualifying_data', { extraData: Buffer.alloc(32, 1) });
    expectRefused('root.qualifying_data', { extraData: Buffer.alloc(0) });
  });
  test('other claims than the quoted ones', () => {
    expectRefused('root.qualifying_data', { after: { claims: Buffer.from(Claims.encode(makeClaims()).finish()) } });
  });
  test('claims that are an inner node of the tree: the prefixes differ', () => {
    const evidence = makeEvidence(tpm, { leavesAfter: others });
    const [first, second] = evidence.merklePath;
    const inner = Buffer.concat([sha256(Buffer.concat([Buffer.from([0]), evidence.claims])), first!]);
    const forged = { ...evidence, claims: inner, leafIndex: 0, leafCount: 2, merklePath: [second!] };
    expect(() => verifyEvidence(forged, verifyOptions(tpm))).toThrow(refusal('root.qualifying_data'));
  });
  test("another position, another leaf's path", () => {
    const tree = { leavesBefore: others, leavesAfter: others };
    expectRefused('root.qualifying_data', { ...tree, after: { leafIndex: 2 } });
    expectRefused('root.qualifying_data', {
      ...tree,
      after: { merklePath: makeEvidence(tpm, tree).merklePath.map(() => Buffer.alloc(32)) },
    });
  });
  test('a path that does not fit its position', () => {
    expectRefused('root.path', { after: { merklePath: [Buffer.alloc(32)] } });
    expectRefused('root.path', { after: { leafCount: 0 } });
    expectRefused('root.path', { after: { leafIndex: 1 } });
    expectRefused('root.path', { leavesBefore: others, after: { merklePath: [] } });
    expectRefused('root.path', { leavesAfter: others.slice(0, 1), after: { merklePath: [Buffer.alloc(20)] } });
  });
});

describe('claims', () => {
  test('verified bytes are the parsed bytes: claims with a second, contradicting user, quoted as they are: refused', () => {
    const claimsBytes = Buffer.concat([Claims.encode(makeClaims()).finish(), Buffer.from([0x2a, 1, 0x78])]);
    expectRefused('claims.not_canonical', { claimsBytes });
  });
  test('claims without a nonce, quoted as they are: refused', () =>
    expectRefused('claims.invalid', { claims: { nonce: Buffer.alloc(0) } }));
  test('base64 of the nonce: refused', () => {
    const nonce = randomBytes(32);
    expectRefused(
      'claims.invalid',
      { claims: { nonce: Buffer.from(nonce.toString('base64')) } },
      { differs: { nonce } },
    );
  });
  test('claims beyond 4 KiB', () => expectRefused('claims.too_long', { claimsBytes: Buffer.alloc(5000) }));
  test('values beside the signed blob count for nothing', () => {
    const claims = makeClaims();
    const evidence = { ...makeEvidence(tpm, { claims }), user: 'mallory', nonce: Buffer.alloc(32), node: 'node-m' };
    expect(verifyEvidence(evidence, verifyOptions(tpm)).claims).toEqual(claims);
  });
});

describe('freshness', () => {
  const now = new Date();
  const seconds = BigInt(Math.floor(now.getTime() / 1000));
  test("somebody else's nonce, and an earlier one", () => {
    expectRefused('freshness.nonce', {}, { differs: { nonce: randomBytes(32) } });
    expectRefused(
      'freshness.nonce',
      { claims: { nonce: Buffer.alloc(32, 1) } },
      { differs: { nonce: Buffer.alloc(16, 1) } },
    );
  });
  test("evidence of one purpose doesn't stand in for the other", () => {
    const tlsExporter = randomBytes(32);
    const session = makeClaims({ purpose: Purpose.PURPOSE_SESSION, tlsExporter });
    expectRefused('freshness.purpose', {}, { expected: expectedOf(session) });
    expectRefused('freshness.purpose', { claims: session }, { expected: expectedOf(makeClaims()) });
  });
  test('evidence that has ended, by more than the clocks may differ', () => {
    expectRefused('freshness.expired', { claims: { issuedAt: seconds - 400n, expiresAt: seconds - 70n } }, { now });
    expect(() =>
      verifyEvidence(
        makeEvidence(tpm, { claims: { issuedAt: seconds - 400n, expiresAt: seconds - 50n } }),
        verifyOptions(tpm, { now }),
      ),
    ).not.toThrow();
  });
  test('evidence from the future, by more than the clocks may differ', () => {
    expectRefused(
      'freshness.not_yet_valid',
      { claims: { issuedAt: seconds + 70n, expiresAt: seconds + 100n } },
      { now },
    );
    expect(() =>
      verifyEvidence(
        makeEvidence(tpm, { claims: { issuedAt: seconds + 50n, expiresAt: seconds + 100n } }),
        verifyOptions(tpm, { now }),
      ),
    ).not.toThrow();
  });
  test('evidence for longer than ten minutes', () => {
    expectRefused('freshness.lifetime', { claims: { issuedAt: seconds, expiresAt: seconds + 601n } }, { now });
  });
});

describe('certificate hash', () => {
  test('a swapped certificate beside the claims', () => {
    expectRefused('certificate_hash.mismatch', { after: { enclaveCertificate: Buffer.from('another certificate') } });
  });
  test('good evidence for another certificate than the one that is presented', () => {
    expectRefused(
      'certificate_hash.unexpected',
      { claims: { purpose: Purpose.PURPOSE_SESSION } },
      { differs: { certificateSha256: sha256(Buffer.from('presented')) } },
    );
  });
});

describe('identity', () => {
  test('any genuine TPM accepted (diversion): a second enrolled node, same PCRs, for this user: refused', async () => {
    const second = await makeFakeTpm({ authority: tpm.authority, node: 'node-b' });
    expectRefused('identity.node', {}, { differs: { node: 'node-a' } }, second);
  });
  test('another enclave of the same user, also the default one: refused', () => {
    expectRefused('identity.enclave', { claims: { enclave: 'gpu-lab' } }, { differs: { enclave: 'default' } });
    expectRefused('identity.enclave', {}, { differs: { enclave: 'gpu-lab' } });
    expectRefused('identity.enclave', { claims: { enclave: 'gpu-lab-2' } }, { differs: { enclave: 'gpu-lab' } });
    const named = makeEvidence(tpm, { claims: { enclave: 'gpu-lab' } });
    for (const [evidence, enclave] of [
      [named, 'gpu-lab'],
      [makeEvidence(tpm), 'default'],
    ] as const) {
      const expected = expectedOf(Claims.decode(evidence.claims), { enclave });
      expect(() => verifyEvidence(evidence, verifyOptions(tpm, { expected }))).not.toThrow();
    }
  });
  test('claims about another node than the one whose TPM signed: refused without being told which', async () => {
    const second = await makeFakeTpm({ authority: tpm.authority, node: 'node-b' });
    expectRefused('identity.ak_node', { claims: { node: 'node-a' } }, {}, second);
  });
  test("another client's key", () =>
    expectRefused('identity.client_key', {}, { differs: { clientKeySha256: Buffer.alloc(32) } }));
  test('another user', () => expectRefused('identity.user', {}, { differs: { user: 'somebody else' } }));
  test('another workload of the same user', () =>
    expectRefused('identity.workload', {}, { differs: { workloadUid: 'before' } }));
  test('relayed evidence: the TLS exporter of another session', () => {
    const claims = { purpose: Purpose.PURPOSE_SESSION, tlsExporter: randomBytes(32) };
    expectRefused('identity.tls_exporter', { claims }, { differs: { tlsExporter: randomBytes(32) } });
  });
  test('another image than the one that the first evidence was about', () => {
    expectRefused(
      'identity.image',
      { claims: { purpose: Purpose.PURPOSE_SESSION } },
      { differs: { imageDigest: `sha256:${'0'.repeat(64)}` } },
    );
  });
  test('where the enclave is, when nobody but the evidence says', () => {
    const evidence = makeEvidence(tpm);
    const expected = expectedOf(Claims.decode(evidence.claims), { workloadUid: undefined, node: undefined });
    expect(() => verifyEvidence(evidence, verifyOptions(tpm, { expected }))).not.toThrow();
  });
});

describe('policy', () => {
  test('image matched by digest: another digest is refused', () => {
    expectRefused(
      'policy.image_digest',
      { claims: { imageDigest: `sha256:${'00'.repeat(32)}` } },
      { policy: { softwareTpm: 'refuse', imageDigests: [`sha256:${'11'.repeat(32)}`] } },
    );
  });
  test('a node that is not on the list', () =>
    expectRefused('policy.node', {}, { policy: { softwareTpm: 'refuse', nodes: ['node-b'] } }));
  test('a software TPM is refused unless allowed, and said aloud when it is', async () => {
    const software = await makeFakeTpm({ authority: tpm.authority, details: { software: true } });
    expectRefused('policy.software_tpm', {}, {}, software);
    const verified = verifyEvidence(
      makeEvidence(software),
      verifyOptions(software, { policy: { softwareTpm: 'allow' } }),
    );
    expect(verified.warnings).toEqual([expect.objectContaining({ code: 'policy.software_tpm' })]);
  });
});

describe('clock, resetCount, safe ignored', () => {
  const warnings = (
    attest: EvidenceOptions['attest'],
    previousClock?: { clock: bigint; resetCount: number; restartCount: number; safe: boolean },
  ): string[] => {
    const evidence = makeEvidence(tpm, { attest, claims: { purpose: Purpose.PURPOSE_SESSION } });
    const expected = expectedOf(Claims.decode(evidence.claims), previousClock && { previousClock });
    return verifyEvidence(evidence, verifyOptions(tpm, { expected })).warnings.map(({ code }) => code);
  };
  const before = { clock: 1000n, resetCount: 5, restartCount: 2, safe: true };

  test('safe=0: flagged', () => expect(warnings({ safe: 0 })).toEqual(['quote.clock_unsafe']));
  test.each([
    ['resetCount backwards', { resetCount: 4, restartCount: 9, clock: 9000n }],
    ['restartCount backwards', { resetCount: 5, restartCount: 1, clock: 9000n }],
    ['clock backwards', { resetCount: 5, restartCount: 2, clock: 999n }],
  ])('%s: flagged', (_, attest) => expect(warnings(attest, before)).toEqual(['quote.clock_backwards']));
  test('forwards: not flagged, nor a counter that wraps', () => {
    expect(warnings({ resetCount: 6, restartCount: 0, clock: 5n }, before)).toEqual([]);
    expect(warnings({ resetCount: 5, restartCount: 2, clock: 1000n }, before)).toEqual([]);
    expect(warnings({ resetCount: 1, restartCount: 0 }, { ...before, resetCount: 0xffffffff })).toEqual([]);
  });
});

test('a certified RSA attestation key: refused by its kind, not a crash', async () => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const akCertificate = await issueAttestationKeyCertificate({
    ca: tpm.authority,
    trustDomain: TRUST_DOMAIN,
    node: tpm.node,
    akPublic: encodeRsaPublic(publicKey),
    details: { ekSha256: '00'.repeat(32), manufacturer: '', model: '', firmware: '', software: false },
    days: 1,
  });
  const by = { ...tpm, privateKey, akPublic: encodeRsaPublic(publicKey), akCertificate };
  expectRefused('ak_attributes.algorithm', { signer: tpm.privateKey }, {}, by);
});
