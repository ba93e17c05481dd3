import { concat, protobuf, uint } from './bytes.mjs';
import { certificate, pem } from './certificates.mjs';
import { key, sha256, signRaw } from './keys.mjs';

/** 2026-01-01T00:00:00Z, Unix seconds: when everything here was issued. */
export const ISSUED = 1_767_225_600;
const DAY = 86_400;
const TRUST_DOMAIN = 'sls.test';
const times = { from: ISSUED - DAY, to: ISSUED + 30 * DAY };
const root = { name: 'attestation root', key: key('attestation root') };
const rootPem = pem(certificate({ ...root, ...times, ca: true }));
const stranger = { name: 'attestation root', key: key('stranger') };
const strangerPem = pem(certificate({ ...stranger, ...times, ca: true }));

const details = { ekSha256: 'ab'.repeat(32), manufacturer: 'TEST', model: 'vector', firmware: '1', software: false };
const AIK = '2.23.133.8.3';
const ak = key('attestation key');
const akCertificate = (change = {}) =>
  certificate({
    name: 'node-a',
    key: ak,
    issuer: root,
    ...times,
    uri: `spiffe://${TRUST_DOMAIN}/node/node-a`,
    usage: AIK,
    details,
    ...change,
  });

/** TPMA_OBJECT (Part 2, 8.3): sign, restricted, noDA, userWithAuth, sensitiveDataOrigin, fixedParent, fixedTPM. */
const ATTRIBUTES = 0x00050472;
const NO_DA = 1 << 10;
/** TPMT_PUBLIC (Part 2, 12.2.4): ECC, SHA-256, no policy, no symmetric, ECDSA with SHA-256, P-256, no KDF. */
const tpmPublic = ({ x, y }, attributes = ATTRIBUTES) =>
  concat(
    uint(0x0023, 2),
    uint(0x000b, 2),
    uint(attributes, 4),
    uint(0, 2),
    uint(0x0010, 2),
    uint(0x0018, 2),
    uint(0x000b, 2),
    uint(0x0003, 2),
    uint(0x0010, 2),
    uint(32, 2),
    x,
    uint(32, 2),
    y,
  );

/** Name of a TPM object (Part 1, 16): the algorithm's number and the digest. */
const tpmName = (area) => concat(uint(0x000b, 2), sha256(area));
const certified = akCertificate({ tpmName: tpmName(tpmPublic(ak)) });
/** Evidence by a key with these attributes, which its certificate names. */
const withAttributes = (attributes) => {
  const akPublic = tpmPublic(ak, attributes);
  return make({ akPublic, akCertificate: akCertificate({ tpmName: tpmName(akPublic) }) });
};

const certificateBytes = Buffer.from('the certificate of an enclave, by whose hash it is known');
export const client = key('client');
const base = {
  purpose: 1,
  nonce: sha256('nonce'),
  certificateSha256: sha256(certificateBytes),
  tlsExporter: Buffer.alloc(0),
  user: '8c0a5f0e-2f0b-4f7e-9a43-0d5c1b1f7a10',
  clientKeySha256: sha256(client.spki),
  workloadUid: '1f6d2c0a-70d4-4f0d-8f1b-2f5a9f5c3b77',
  imageDigest: `sha256:${sha256('image').toString('hex')}`,
  node: 'node-a',
  issuedAt: ISSUED,
  expiresAt: ISSUED + 300,
  enclave: '',
};
const session = { purpose: 2, tlsExporter: sha256('exporter') };

/** licensing.v1.Claims: proto3 leaves out what is zero or empty. */
function encodeClaims(changes) {
  const c = { ...base, ...changes };
  const values = [
    c.purpose,
    c.nonce,
    c.certificateSha256,
    c.tlsExporter,
    c.user,
    c.clientKeySha256,
    c.workloadUid,
    c.imageDigest,
    c.node,
    c.issuedAt,
    c.expiresAt,
    c.enclave,
  ];
  const fields = values.map((value, index) => [index + 1, value]);
  return protobuf(...fields.filter(([, value]) => value !== 0 && value.length !== 0));
}

const leafHash = (bytes) => sha256(Buffer.from([0]), bytes);
const nodeHash = (left, right) => sha256(Buffer.from([1]), left, right);
const OLD_PCRS = [0, 1, 2, 3, 4, 5, 6, 7, 23];
const PCRS = [...Array(16).keys(), 23];
const octets = (pcrs) => {
  const bits = Buffer.alloc(3);
  for (const pcr of pcrs) bits[pcr >> 3] |= 1 << (pcr & 7);
  return bits;
};

/** A quote (TPMS_ATTEST, Part 2, 10.12.12) over the claims, and everything beside it. */
function make(options = {}) {
  const claims = options.claimsBytes ?? encodeClaims(options.claims);
  const leaf = leafHash(claims);
  const neighbours = [sha256('one'), sha256('two')];
  const group = options.group ?? false;
  const top = group ? nodeHash(nodeHash(neighbours[0], leaf), neighbours[1]) : leaf;
  const extraData = options.extraData ?? top;
  const pcr23 = options.pcr23 ?? sha256(Buffer.alloc(32), top);
  const indexes = options.pcrs ?? PCRS;
  const pcrs = indexes.map((index) => ({ index, sha256: index === 23 ? pcr23 : sha256(`PCR ${index}`) }));
  const selection = options.selection ?? concat(uint(1, 4), uint(0x000b, 2), uint(3, 1), octets(indexes));
  const clock = options.clock ?? { clock: 1_000_000, resetCount: 7, restartCount: 2, safe: 1 };
  const signer = concat(uint(0x000b, 2), sha256('qualified signer'));
  const attest = concat(
    uint(options.magic ?? 0xff544347, 4),
    uint(options.type ?? 0x8018, 2),
    uint(signer.length, 2),
    signer,
    uint(extraData.length, 2),
    extraData,
    uint(clock.clock, 8),
    uint(clock.resetCount, 4),
    uint(clock.restartCount, 4),
    uint(clock.safe, 1),
    uint(0x20240101, 8),
    selection,
    uint(32, 2),
    sha256(...pcrs.map((pcr) => pcr.sha256)),
  );
  const raw = signRaw(options.signer ?? ak, options.signed ?? '', attest);
  const base64 = (bytes) => bytes.toString('base64');
  return {
    attest: base64(attest),
    signature: base64(
      concat(uint(0x0018, 2), uint(0x000b, 2), uint(32, 2), raw.subarray(0, 32), uint(32, 2), raw.subarray(32)),
    ),
    akPublic: base64(options.akPublic ?? tpmPublic(ak)),
    akCertificates: [base64(options.akCertificate ?? certified)],
    pcrs: pcrs.map(({ index, sha256: value }) => ({ index, sha256: base64(value) })),
    claims: base64(claims),
    leafIndex: group ? 1 : 0,
    leafCount: group ? 3 : 1,
    merklePath: group ? neighbours.map(base64) : [],
    enclaveCertificate: base64(certificateBytes),
    ...options.after,
  };
}

const hex = (bytes) => bytes.toString('hex');
const asked = { clientKeySha256: hex(base.clientKeySha256), user: base.user };
const where = { enclave: 'default', workloadUid: base.workloadUid, node: base.node };
const forCertificate = { situation: 'certificate', nonce: hex(base.nonce), ...asked, ...where };
const previousClock = { clock: 900_000, resetCount: 7, restartCount: 2, safe: true };
const forSession = {
  ...forCertificate,
  situation: 'session',
  tlsExporter: hex(session.tlsExporter),
  certificateSha256: hex(base.certificateSha256),
  imageDigest: base.imageDigest,
  previousClock,
};
const forSeat = { situation: 'seat', ...asked };
const archived = { situation: 'archived' };
const other = hex(sha256('something else'));
const software = akCertificate({ tpmName: tpmName(tpmPublic(ak)), details: { ...details, software: true } });
const nodeB = akCertificate({ uri: `spiffe://${TRUST_DOMAIN}/node/node-b` });
const flipped = (text, at) => {
  const bytes = Buffer.from(text, 'base64');
  bytes[at] ^= 1;
  return bytes.toString('base64');
};
const good = make();
const claimsOf = (changes) => encodeClaims({ ...base, ...changes });

const vector = (name, expect, evidence, expected = forCertificate, rest = {}) => ({
  name,
  expect,
  expected,
  ...rest,
  evidence,
});
const ok = (warnings = []) => ({ ok: true, warnings });
const no = (code) => ({ ok: false, code });

export const evidence = {
  about:
    'Evidence: TPM quotes over claims, made by a key in keys.json that an authority there certifies as an attestation key.',
  trust: { attestationRoots: [rootPem], trustDomain: TRUST_DOMAIN },
  policy: { softwareTpm: 'refuse' },
  now: ISSUED + 60,
  claims: {
    ...Object.fromEntries(
      Object.entries(base).map(([name, value]) => [name, Buffer.isBuffer(value) ? hex(value) : value]),
    ),
  },
  vectors: [
    vector('of a certificate, alone in its quote', ok(), good),
    vector('of a certificate, one of three in a quote', ok(), make({ group: true })),
    vector('of a certificate, with the PCRs that were quoted before', ok(), make({ pcrs: OLD_PCRS })),
    vector('by a key whose certificate has no Name', ok(), make({ akCertificate: akCertificate() })),
    vector('of a named enclave', ok(), make({ claims: { enclave: 'lab' } }), { ...forCertificate, enclave: 'lab' }),
    vector('where nobody but the evidence says where the enclave is', ok(), good, {
      ...forCertificate,
      workloadUid: null,
      node: null,
    }),
    vector('for exactly ten minutes', ok(), make({ claimsBytes: claimsOf({ expiresAt: ISSUED + 600 }) })),
    vector('a minute early by the clock of the client', ok(), good, forCertificate, { now: ISSUED - 60 }),
    vector('a minute after its end by the clock of the client', ok(), good, forCertificate, { now: ISSUED + 360 }),
    vector('of a session', ok(), make({ claims: session }), forSession),
    vector('for a seat', ok(), make({ claims: session }), forSeat),
    vector('out of an archive', ok(), good, archived),
    vector("a session's out of an archive", ok(), make({ claims: session }), archived),
    vector(
      'an unsafe clock, told',
      ok(['quote.clock_unsafe']),
      make({ clock: { clock: 5, resetCount: 8, restartCount: 0, safe: 0 } }),
    ),
    vector(
      'a clock that went back, told',
      ok(['quote.clock_backwards']),
      make({ claims: session, clock: { clock: 899_999, resetCount: 7, restartCount: 2, safe: 1 } }),
      forSession,
    ),
    vector(
      'a software TPM where it is allowed, told',
      ok(['policy.software_tpm']),
      make({ akCertificate: software }),
      forCertificate,
      { policy: { softwareTpm: 'allow' } },
    ),

    vector('another root', no('ak_certificate.untrusted'), good, forCertificate, {
      trust: { attestationRoots: [strangerPem], trustDomain: TRUST_DOMAIN },
    }),
    vector('another trust domain', no('ak_certificate.trust_domain'), good, forCertificate, {
      trust: { attestationRoots: [rootPem], trustDomain: 'else.test' },
    }),
    vector('a certificate that has ended', no('ak_certificate.expired'), good, archived, { now: ISSUED + 31 * DAY }),
    vector(
      'a certificate for another purpose',
      no('ak_certificate.usage'),
      make({ akCertificate: akCertificate({ usage: '1.3.6.1.5.5.7.3.2' }) }),
    ),
    vector(
      "another key's certificate",
      no('ak_certificate.key_mismatch'),
      make({ akPublic: tpmPublic(key('another attestation key')) }),
    ),
    vector(
      'one attribute of the public area changed',
      no('ak_certificate.public_area'),
      make({ akPublic: tpmPublic(ak, ATTRIBUTES & ~NO_DA) }),
    ),
    vector(
      'one attribute changed, where the certificate has no Name',
      no('ak_certificate.public_area'),
      make({ akPublic: tpmPublic(ak, ATTRIBUTES & ~NO_DA), akCertificate: akCertificate() }),
    ),
    ...[
      ['restricted', 1 << 16],
      ['sign', 1 << 18],
      ['fixedTPM', 1 << 1],
      ['fixedParent', 1 << 4],
      ['sensitiveDataOrigin', 1 << 5],
    ].map(([name, bit]) =>
      vector(
        `an attestation key that is not ${name}`,
        no('ak_attributes.attributes'),
        withAttributes(ATTRIBUTES & ~bit),
      ),
    ),
    vector(
      'an attestation key that also decrypts',
      no('ak_attributes.attributes'),
      withAttributes(ATTRIBUTES | (1 << 17)),
    ),
    vector(
      'one bit of the quote changed',
      no('signature.mismatch'),
      make({ after: { attest: flipped(good.attest, 60) } }),
    ),
    vector('signed with bytes before it', no('signature.mismatch'), make({ signed: 'sls' })),
    vector('signed by another key', no('signature.mismatch'), make({ signer: key('another attestation key') })),
    vector('not made by a TPM', no('quote.magic'), make({ magic: 0xff544348 })),
    vector('a certification, not a quote', no('quote.type'), make({ type: 0x8017 })),
    vector('fewer PCRs', no('quote.pcr_selection'), make({ pcrs: [0, 7, 23] })),
    vector(
      'the SHA-1 bank',
      no('quote.pcr_selection'),
      make({ selection: concat(uint(1, 4), uint(0x0004, 2), uint(3, 1), octets(PCRS)) }),
    ),
    vector(
      'another value of a PCR',
      no('pcr_digest.mismatch'),
      make({
        after: { pcrs: good.pcrs.map((pcr) => (pcr.index === 7 ? { ...pcr, sha256: flipped(pcr.sha256, 0) } : pcr)) },
      }),
    ),
    vector('a PCR left out', no('pcr_digest.values'), make({ after: { pcrs: good.pcrs.slice(1) } })),
    vector('a place outside the tree', no('root.path'), make({ after: { leafIndex: 1 } })),
    vector(
      'a sibling that is none',
      no('root.qualifying_data'),
      make({
        group: true,
        after: {
          merklePath: [good.merklePath[0] ?? sha256('three').toString('base64'), sha256('two').toString('base64')],
        },
      }),
    ),
    vector(
      'a leaf hashed without its prefix',
      no('root.qualifying_data'),
      (() => {
        const bare = sha256(encodeClaims({}));
        return make({ extraData: bare, pcr23: sha256(Buffer.alloc(32), bare) });
      })(),
    ),
    vector('a root in PCR 23 alone', no('root.qualifying_data'), make({ extraData: sha256('else') })),
    vector('a root in the qualifying data alone', no('root.pcr'), make({ pcr23: sha256('else') })),
    vector(
      'claims with a field twice',
      no('claims.not_canonical'),
      make({ claimsBytes: concat(encodeClaims({}), protobuf([9, 'node-a'])) }),
    ),
    vector(
      'claims with a field that nobody knows',
      no('claims.not_canonical'),
      make({ claimsBytes: concat(encodeClaims({}), protobuf([13, 'x'])) }),
    ),
    vector('claims without a nonce', no('claims.invalid'), make({ claims: { nonce: Buffer.alloc(0) } })),
    vector(
      "a certificate's claims with an exporter",
      no('claims.invalid'),
      make({ claims: { tlsExporter: sha256('exporter') } }),
    ),
    vector(
      "a session's claims without an exporter",
      no('claims.invalid'),
      make({ claims: { purpose: 2 } }),
      forSession,
    ),
    vector("a session's where a certificate's is wanted", no('freshness.purpose'), make({ claims: session })),
    vector("a certificate's where a session's is wanted", no('freshness.purpose'), good, forSession),
    vector("a certificate's where a seat is wanted", no('freshness.purpose'), good, forSeat),
    vector('for another nonce', no('freshness.nonce'), good, { ...forCertificate, nonce: other }),
    vector(
      'for longer than ten minutes',
      no('freshness.lifetime'),
      make({ claimsBytes: claimsOf({ expiresAt: ISSUED + 601 }) }),
    ),
    vector('of the future', no('freshness.not_yet_valid'), good, forCertificate, { now: ISSUED - 61 }),
    vector('that has ended', no('freshness.expired'), good, forCertificate, { now: ISSUED + 361 }),
    vector(
      'with another certificate beside it',
      no('certificate_hash.mismatch'),
      make({ after: { enclaveCertificate: Buffer.from('another').toString('base64') } }),
    ),
    vector(
      'about another certificate than at the other end',
      no('certificate_hash.unexpected'),
      make({ claims: session }),
      { ...forSession, certificateSha256: other },
    ),
    vector(
      'about another node than the one whose TPM signed',
      no('identity.ak_node'),
      make({ akCertificate: nodeB }),
      archived,
    ),
    vector('for another client key', no('identity.client_key'), good, { ...forCertificate, clientKeySha256: other }),
    vector('for another client key, for a seat', no('identity.client_key'), make({ claims: session }), {
      ...forSeat,
      clientKeySha256: other,
    }),
    vector('about another session', no('identity.tls_exporter'), make({ claims: session }), {
      ...forSession,
      tlsExporter: other,
    }),
    vector('about another user', no('identity.user'), good, { ...forCertificate, user: 'mallory' }),
    vector('about another user, for a seat', no('identity.user'), make({ claims: session }), {
      ...forSeat,
      user: 'mallory',
    }),
    vector('about another enclave of the user', no('identity.enclave'), good, { ...forCertificate, enclave: 'lab' }),
    vector('about another workload', no('identity.workload'), good, { ...forCertificate, workloadUid: 'before' }),
    vector('about another node than the enclave is said to be on', no('identity.node'), good, {
      ...forCertificate,
      node: 'node-b',
    }),
    vector('about another image than before', no('identity.image'), make({ claims: session }), {
      ...forSession,
      imageDigest: `sha256:${other}`,
    }),
    vector('an image that is not wanted', no('policy.image_digest'), good, forCertificate, {
      policy: { softwareTpm: 'refuse', imageDigests: [`sha256:${other}`] },
    }),
    vector('a node that is not wanted', no('policy.node'), good, forCertificate, {
      policy: { softwareTpm: 'refuse', nodes: ['node-b'] },
    }),
    vector('a software TPM', no('policy.software_tpm'), make({ akCertificate: software })),
  ],
};
