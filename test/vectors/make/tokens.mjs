import { existsSync, readFileSync } from 'node:fs';
import { certificate, pem } from './certificates.mjs';
import { ISSUED } from './evidence.mjs';
import { jws, key, sha256 } from './keys.mjs';

const DAY = 86_400;
const TRUST_DOMAIN = 'sls.test';
const times = { from: ISSUED - DAY, to: ISSUED + 30 * DAY };
const ca = (name) => ({ name, key: key(name) });
const clientCa = ca('client authority');
const adminCa = ca('admin authority');
const stranger = ca('stranger');
const rootPem = (authority) => pem(certificate({ ...authority, ...times, ca: true }));
const ok = { ok: true };
const no = (code) => ({ ok: false, code });
const vector = (name, expect, text, rest = {}) => ({ name, expect, ...rest, text });
const [signer, other] = [key('signer'), key('another signer')];

// A claim or header of the wrong kind in each, beside what is good.
const without = (object, name) => Object.fromEntries(Object.entries(object).filter(([field]) => field !== name));

/** A token of exactly this length: header and claims take what their readers don't know, and base64 skips a length in four. */
function padded(length, make) {
  for (let more = 0; more < 4; more++) {
    let size = length;
    for (let tries = 0; tries < 4; tries++) {
      const token = make({ pad: 'p'.repeat(Math.max(0, size)) }, { more: 'm'.repeat(more) });
      if (token.length === length) return token;
      size -= Math.ceil(((token.length - length) * 3) / 4);
    }
  }
  throw new Error(`expected a token of ${length} characters`);
}

// Seat tokens
const JWT_SIGNING = '1.3.6.1.5.5.7.3.37';
const seatCertificate = (change = {}) =>
  certificate({
    name: 'seats',
    key: signer,
    issuer: clientCa,
    ...times,
    uri: `spiffe://${TRUST_DOMAIN}/seats`,
    usage: JWT_SIGNING,
    ...change,
  }).toString('base64');
const seatHeader = { alg: 'ES256', typ: 'sls-seat+jwt', x5c: [seatCertificate()] };
const seatClaims = {
  workload: '1f6d2c0a-70d4-4f0d-8f1b-2f5a9f5c3b77',
  tls_exporter: sha256('exporter').toString('base64url'),
  iss: `spiffe://${TRUST_DOMAIN}/seats`,
  aud: TRUST_DOMAIN,
  sub: '8c0a5f0e-2f0b-4f7e-9a43-0d5c1b1f7a10',
  jti: '2d4e7c1a-5b0f-4a53-9f5e-0c8d1a2b3c4d',
  exp: ISSUED + 300,
};
const seatToken = (header = {}, claims = {}, by = signer) =>
  jws({ ...seatHeader, ...header }, { ...seatClaims, ...claims }, by);
const invalid = no('seat.token_invalid');
export const seatTokens = {
  about:
    'Which session has a seat: a JWT with typ sls-seat+jwt, signed by a key that the client CA certifies for it (x5c).',
  rootsPem: rootPem(clientCa),
  trustDomain: TRUST_DOMAIN,
  now: ISSUED,
  claims: seatClaims,
  vectors: [
    vector('the token', ok, seatToken()),
    vector('another type', invalid, seatToken({ typ: 'JWT' })),
    vector("a licence's type", invalid, seatToken({ typ: 'sls-licence+jwt' })),
    vector('without a type', invalid, jws(without(seatHeader, 'typ'), seatClaims, signer)),
    vector('another algorithm', invalid, seatToken({ alg: 'ES384' })),
    vector('signed by another key than the certified one', invalid, seatToken({}, {}, other)),
    vector(
      "an administrator's purpose in the signer's certificate",
      invalid,
      seatToken({ x5c: [seatCertificate({ usage: '1.3.6.1.5.5.7.3.2' })] }),
    ),
    vector(
      'another name in it',
      invalid,
      seatToken({ x5c: [seatCertificate({ uri: `spiffe://${TRUST_DOMAIN}/user/a/session/b` })] }),
    ),
    vector('another authority', invalid, seatToken({ x5c: [seatCertificate({ issuer: stranger })] })),
    vector('another issuer', invalid, seatToken({}, { iss: 'spiffe://else.test/seats' })),
    vector('for another installation', invalid, seatToken({}, { aud: 'else.test' })),
    vector('without an exporter', invalid, jws(seatHeader, without(seatClaims, 'tls_exporter'), signer)),
    vector('without an end', invalid, jws(seatHeader, without(seatClaims, 'exp'), signer)),
    vector('that has ended', no('seat.token_expired'), seatToken(), { now: ISSUED + 306 }),
    vector('no token', invalid, ''),
    vector('as long as is read', ok, padded(8192, seatToken)),
    vector('longer than is read', invalid, padded(8193, seatToken)),
    vector(
      "its authority's certificate beside its signer's",
      invalid,
      seatToken({ x5c: [seatCertificate(), certificate({ ...clientCa, ...times, ca: true }).toString('base64')] }),
    ),
    vector('a certificate with something before it', invalid, seatToken({ x5c: [`!${seatCertificate()}`] })),
    vector('a certificate with something behind it', invalid, seatToken({ x5c: [`${seatCertificate()}!`] })),
    vector('of no workload', invalid, seatToken({}, { workload: '' })),
    vector('of a workload of 129 characters', invalid, seatToken({}, { workload: 'w'.repeat(129) })),
    vector('an exporter of another size', invalid, seatToken({}, { tls_exporter: 'A'.repeat(42) })),
    vector('an exporter with something before it', invalid, seatToken({}, { tls_exporter: `!${'A'.repeat(43)}` })),
    vector('an exporter with something behind it', invalid, seatToken({}, { tls_exporter: `${'A'.repeat(43)}!` })),
    vector('an end between two seconds', invalid, seatToken({}, { exp: ISSUED + 300.5 })),
    vector(
      'something critical that this release does not know',
      no('seat.token_newer_release'),
      seatToken({}, { share: 2, critical: ['share'] }),
    ),
    vector('something critical that it does not have', invalid, seatToken({}, { critical: ['share'] })),
  ],
};

// Administrators' proofs
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';
const request = Buffer.from('a request as it is serialized');
const method = '/licensing.v1.AdminService/Revoke';
const adminCertificate = (change = {}) =>
  certificate({
    name: 'root',
    key: signer,
    issuer: adminCa,
    ...times,
    uri: `spiffe://${TRUST_DOMAIN}/admin/root`,
    usage: CLIENT_AUTH,
    ...change,
  }).toString('base64');
const adminHeader = { alg: 'ES256', typ: 'sls-admin+jwt', x5c: [adminCertificate()] };
const adminClaims = {
  htm: method,
  request_sha256: sha256(request).toString('hex'),
  aud: TRUST_DOMAIN,
  iat: ISSUED,
  jti: '6a8f4f51-7d3c-4d0e-8d1a-3f2b1c0d9e8f',
};
const adminProof = (header = {}, claims = {}, by = signer) =>
  jws({ ...adminHeader, ...header }, { ...adminClaims, ...claims }, by);
export const adminProofs = {
  about:
    'That an administrator makes this very call: a JWT with typ sls-admin+jwt, signed by a key that the admin CA certifies (x5c).',
  rootsPem: rootPem(adminCa),
  trustDomain: TRUST_DOMAIN,
  now: ISSUED + 10,
  method,
  request: request.toString('base64'),
  vectors: [
    vector('the proof', ok, adminProof()),
    vector('another type', no('admin.proof_type'), adminProof({ typ: 'JWT' })),
    vector("a seat's type", no('admin.proof_type'), adminProof({ typ: 'sls-seat+jwt' })),
    vector('no JWS', no('admin.proof_malformed'), 'proof'),
    vector(
      'without a request',
      no('admin.proof_malformed'),
      jws(adminHeader, without(adminClaims, 'request_sha256'), signer),
    ),
    vector('signed by another key', no('admin.proof_signature'), adminProof({}, {}, other)),
    vector('another authority', no('admin.certificate'), adminProof({ x5c: [adminCertificate({ issuer: stranger })] })),
    vector(
      "a user's certificate",
      no('admin.certificate'),
      adminProof({ x5c: [adminCertificate({ uri: `spiffe://${TRUST_DOMAIN}/user/a/session/b` })] }),
    ),
    vector('for another installation', no('admin.proof_audience'), adminProof({}, { aud: 'else.test' })),
    vector(
      'for another method',
      no('admin.proof_method'),
      adminProof({}, { htm: '/licensing.v1.AdminService/Restore' }),
    ),
    vector(
      'for another request',
      no('admin.proof_request'),
      adminProof({}, { request_sha256: sha256('else').toString('hex') }),
    ),
    vector('a minute old', no('admin.proof_time'), adminProof(), { now: ISSUED + 61 }),
    vector('of the future', no('admin.proof_time'), adminProof(), { now: ISSUED - 61 }),
    vector('just a minute old', ok, adminProof(), { now: ISSUED + 60 }),
    vector('no proof', no('admin.proof_missing'), ''),
    vector('as long as is read', ok, padded(16384, adminProof)),
    vector('longer than is read', no('admin.proof_malformed'), padded(16385, adminProof)),
    vector('another algorithm', no('admin.proof_type'), adminProof({ alg: 'ES384' })),
    vector('without a certificate', no('admin.proof_type'), adminProof({ x5c: [] })),
    vector('with five certificates', no('admin.proof_type'), adminProof({ x5c: Array(5).fill(adminCertificate()) })),
    vector(
      'a certificate with something before it',
      no('admin.proof_type'),
      adminProof({ x5c: [`!${adminCertificate()}`] }),
    ),
    vector(
      'a certificate with something behind it',
      no('admin.proof_type'),
      adminProof({ x5c: [`${adminCertificate()}!`] }),
    ),
    vector(
      'a hash with something before it',
      no('admin.proof_malformed'),
      adminProof({}, { request_sha256: `0${adminClaims.request_sha256}` }),
    ),
    vector(
      'a hash with something behind it',
      no('admin.proof_malformed'),
      adminProof({}, { request_sha256: `${adminClaims.request_sha256}0` }),
    ),
    vector('made between two seconds', no('admin.proof_malformed'), adminProof({}, { iat: ISSUED + 0.5 })),
  ],
};

// Trust bundles
/** A certificate that is signed anew is another one: what is added later is about the same bundle. */
function committedRoots() {
  const file = new URL('../bundles.json', import.meta.url);
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).bundle.attestationRoots : undefined;
}
const [trustKey, otherTrustKey] = [key('trust key'), key('another trust key')];
const bundle = {
  version: 1,
  sequence: 7,
  trustKey: trustKey.published,
  revocationKeys: { keys: [signer.published] },
  logKeys: { keys: [signer.published] },
  licenceKeys: { keys: [signer.published] },
  trustDomain: TRUST_DOMAIN,
  attestationRoots: committedRoots() ?? [rootPem(ca('attestation root'))],
  serverRoots: [],
  services: { signup: 'https://signup.sls.test', login: 'https://login.sls.test' },
  policy: { softwareTpm: 'refuse' },
};
const signedBundle = (header = {}, changes = {}, by = trustKey) =>
  jws({ alg: 'ES256', typ: 'sls-trust-bundle+jwt', kid: 'trust key', ...header }, { ...bundle, ...changes }, by);
export const bundles = {
  about: 'Trust bundles: a JWS with typ sls-trust-bundle+jwt, signed by the trust key in it.',
  fingerprint: `SHA256:${sha256(JSON.stringify(trustKey.jwk, ['crv', 'kty', 'x', 'y'])).toString('base64url')}`,
  bundle,
  vectors: [
    vector('the bundle', ok, signedBundle()),
    vector('another type', no('trust.type'), signedBundle({ typ: 'JWT' })),
    vector("a revocation list's type", no('trust.type'), signedBundle({ typ: 'sls-revocations+jwt' })),
    vector('signed by another key', no('trust.signature'), signedBundle({}, {}, otherTrustKey)),
    vector(
      'its services changed after it was signed',
      no('trust.signature'),
      (() => {
        const [header, , signature] = signedBundle().split('.');
        const services = { signup: 'https://signup.evil.test', login: 'https://login.evil.test' };
        return [header, Buffer.from(JSON.stringify({ ...bundle, services })).toString('base64url'), signature].join(
          '.',
        );
      })(),
    ),
    vector('without a signature', no('trust.unsigned'), JSON.stringify(bundle)),
    vector(
      'by algorithm none',
      no('trust.signature'),
      `${signedBundle({ alg: 'none' }).split('.').slice(0, 2).join('.')}.`,
    ),
    vector('with a field that this release does not know', ok, signedBundle({}, { more: true })),
    vector(
      'with such a field that is critical',
      no('trust.newer_release'),
      signedBundle({}, { more: true, critical: ['more'] }),
    ),
    vector(
      'with a critical field that it does not have',
      no('trust.malformed'),
      signedBundle({}, { critical: ['more'] }),
    ),
    vector('with nothing in what is critical', no('trust.malformed'), signedBundle({}, { critical: [] })),
    vector('with a critical field twice', no('trust.malformed'), signedBundle({}, { critical: ['policy', 'policy'] })),
    vector('without roots', no('trust.malformed'), signedBundle({}, { attestationRoots: [] })),
    vector(
      "with the trust key's private half",
      no('trust.malformed'),
      signedBundle({}, { trustKey: { ...trustKey.published, d: 'AA' } }),
    ),
  ],
  after: [
    vector('a newer one', { ok: true, taken: true }, signedBundle({}, { sequence: 8 })),
    vector('an older one', { ok: true, taken: false }, signedBundle({}, { sequence: 6 })),
    vector(
      'one of another key',
      no('trust.key_changed'),
      signedBundle({}, { sequence: 8, trustKey: otherTrustKey.published }, otherTrustKey),
    ),
    vector(
      'one of another installation',
      no('trust.domain_changed'),
      signedBundle({}, { sequence: 8, trustDomain: 'else.test' }),
    ),
  ],
};

// Revocation lists
const list = {
  iat: ISSUED,
  exp: ISSUED + 60,
  nodes: ['node-b'],
  aks: ['aa'.repeat(32)],
  eks: ['bb'.repeat(32)],
  users: ['mallory'],
  sessions: ['ended'],
  trustSequence: 7,
};
const signedList = (header = {}, changes = {}, by = signer) =>
  jws({ alg: 'ES256', typ: 'sls-revocations+jwt', kid: 'signer', ...header }, { ...list, ...changes }, by);
export const revocations = {
  about:
    'Revocation lists: a JWS with typ sls-revocations+jwt, signed by a revocation key of the trust bundle, good for a minute.',
  keys: [signer.published],
  now: ISSUED + 30,
  list,
  vectors: [
    vector('the list', ok, signedList()),
    vector('none', no('revocation.missing'), ''),
    vector('another type', no('revocation.malformed'), signedList({ typ: 'JWT' })),
    vector("a tree head's type", no('revocation.malformed'), signedList({ typ: 'sls-tree-head+jwt' })),
    vector(
      'a key that is not in the bundle',
      no('revocation.signature'),
      signedList({ kid: 'another signer' }, {}, other),
    ),
    vector("the key's name on another key's signature", no('revocation.signature'), signedList({}, {}, other)),
    vector(
      'without users',
      no('revocation.malformed'),
      jws({ alg: 'ES256', typ: 'sls-revocations+jwt', kid: 'signer' }, without(list, 'users'), signer),
    ),
    vector('that has ended', no('revocation.stale'), signedList(), { now: ISSUED + 60 }),
    vector('for longer than a minute', no('revocation.stale'), signedList({}, { exp: ISSUED + 61 })),
    vector('of the future', no('revocation.stale'), signedList(), { now: ISSUED - 61 }),
    vector('with a field that this release does not know', ok, signedList({}, { models: [] })),
    vector(
      'with such a field that is critical',
      no('revocation.newer_release'),
      signedList({}, { models: [], critical: ['models'] }),
    ),
  ],
  subjects: [
    { name: 'nothing revoked', expect: ok, subject: {} },
    { name: 'its node', expect: no('revocation.node'), subject: { node: 'node-b' } },
    { name: 'its attestation key', expect: no('revocation.ak'), subject: { akSha256: 'aa'.repeat(32) } },
    { name: 'its endorsement key', expect: no('revocation.ek'), subject: { ekSha256: 'bb'.repeat(32) } },
    { name: 'its user', expect: no('revocation.user'), subject: { user: 'mallory' } },
    { name: 'its session', expect: no('revocation.session'), subject: { session: 'ended' } },
  ],
};

// Heads of the audit log
const head = { iss: TRUST_DOMAIN, iat: ISSUED, size: 5, root: sha256('root').toString('hex') };
const signedHead = (header = {}, changes = {}, by = signer) =>
  jws({ alg: 'ES256', typ: 'sls-tree-head+jwt', kid: 'signer', ...header }, { ...head, ...changes }, by);
export const heads = {
  about: 'Heads of the audit log: a JWS with typ sls-tree-head+jwt, signed by a log key of the trust bundle.',
  keys: [signer.published],
  trustDomain: TRUST_DOMAIN,
  now: ISSUED + 30,
  head,
  vectors: [
    vector('the head', ok, signedHead()),
    vector('another type', no('log.head_malformed'), signedHead({ typ: 'JWT' })),
    vector("a trust bundle's type", no('log.head_malformed'), signedHead({ typ: 'sls-trust-bundle+jwt' })),
    vector(
      'a key that is not in the bundle',
      no('log.head_signature'),
      signedHead({ kid: 'another signer' }, {}, other),
    ),
    vector("the key's name on another key's signature", no('log.head_signature'), signedHead({}, {}, other)),
    vector('of another installation', no('log.head_malformed'), signedHead({}, { iss: 'else.test' })),
    vector('with a field that this release does not know', ok, signedHead({}, { more: 1 })),
    vector(
      'with such a field that is critical',
      no('log.head_newer_release'),
      signedHead({}, { more: 1, critical: ['more'] }),
    ),
    vector('a short root', no('log.head_malformed'), signedHead({}, { root: 'ab' })),
    vector('five minutes old', no('log.head_stale'), signedHead(), { now: ISSUED + 301 }),
    vector('of the future', no('log.head_stale'), signedHead(), { now: ISSUED - 61 }),
  ],
};

// Licence keys
const licenceHeader = { alg: 'ES256', typ: 'sls-licence+jwt', kid: 'signer' };
const licence = {
  plan: { name: 'Team', enclaves: 2, seats: 5 },
  grace_days: 7,
  accounts: 10,
  iss: `https://${TRUST_DOMAIN}`,
  aud: 'sls-licence',
  jti: '7b0d3f62-1c5e-4b8a-8f2d-9e0c1a2b3c4d',
  iat: ISSUED,
  exp: ISSUED + 365 * DAY,
};
const licenceKey = (header = {}, claims = {}, by = signer) =>
  jws({ ...licenceHeader, ...header }, { ...licence, ...claims }, by);
export const licences = {
  about: 'Licence keys: a JWT with typ sls-licence+jwt, signed by a licence key of the trust bundle.',
  keys: [signer.published],
  trustDomain: TRUST_DOMAIN,
  now: ISSUED + DAY,
  licence,
  vectors: [
    vector('the key', ok, licenceKey()),
    vector('another type', no('licence.type'), licenceKey({ typ: 'JWT' })),
    vector("a seat's type", no('licence.type'), licenceKey({ typ: 'sls-seat+jwt' })),
    vector('no JWS', no('licence.malformed'), 'a licence'),
    vector('another algorithm', no('licence.algorithm'), licenceKey({ alg: 'ES384' })),
    vector(
      'a key that is not in the bundle',
      no('licence.unknown_key'),
      licenceKey({ kid: 'another signer' }, {}, other),
    ),
    vector("the key's name on another key's signature", no('licence.signature'), licenceKey({}, {}, other)),
    vector('of another installation', no('licence.issuer'), licenceKey({}, { iss: 'https://else.test' })),
    vector('for another audience', no('licence.audience'), licenceKey({}, { aud: 'sls-seat' })),
    vector('without accounts', no('licence.claims'), jws(licenceHeader, without(licence, 'accounts'), signer)),
    vector('that has ended', no('licence.expired'), licenceKey(), { now: ISSUED + 366 * DAY }),
    vector('of the future', no('licence.not_yet_valid'), licenceKey(), { now: ISSUED - 6 }),
    vector('with a limit that this release does not know', ok, licenceKey({}, { plan: { ...licence.plan, hours: 8 } })),
    vector(
      'with such a limit that is critical',
      no('licence.newer_release'),
      licenceKey({}, { plan: { ...licence.plan, hours: 8 }, critical: ['plan.hours'] }),
    ),
  ],
};
