import { sha256 } from '../../crypto';
import type { Claims } from '../../../proto/gen/licensing/v1/evidence';
import { purposeToJSON } from '../../../proto/gen/licensing/v1/evidence';
import { parseClaims } from '../claims';
import { enclaveOf } from '../enclave-name';
import { EvidenceError } from '../errors';
import { expectedPurpose } from '../expected';
import type { Expected } from '../expected';
import type { Passed } from './step';

/** Seconds by which the clocks of attestor and client may differ. */
const SKEW = 60n;
/** Longest life of evidence, in seconds. */
const MAX_LIFETIME_SECONDS = 600n;

/** The claims in the one encoding that they may have (see parseClaims). @throws EvidenceError claims.… */
export function checkClaimsForm(bytes: Buffer): Passed<Claims> {
  const claims = parseClaims(bytes);
  return { value: claims, detail: `canonical, ${bytes.length} bytes` };
}

/** Claims → nonce (attestation/evidence/claims.ts): the last hop. */
export function checkFreshness(claims: Claims, expected: Expected, now: Date): Passed<void> {
  const purpose = expectedPurpose(expected);
  if (purpose !== undefined && claims.purpose !== purpose) {
    throw new EvidenceError(
      'freshness',
      'freshness.purpose',
      `expected ${purposeToJSON(purpose)}, got ${purposeToJSON(claims.purpose)}`,
    );
  }
  if ('nonce' in expected && !expected.nonce.equals(claims.nonce)) {
    throw new EvidenceError(
      'freshness',
      'freshness.nonce',
      `expected nonce ${expected.nonce.toString('hex')}, got ${claims.nonce.toString('hex')}`,
    );
  }
  if (claims.expiresAt - claims.issuedAt > MAX_LIFETIME_SECONDS) {
    throw new EvidenceError(
      'freshness',
      'freshness.lifetime',
      `expected ${MAX_LIFETIME_SECONDS} seconds of life at most, got ${claims.expiresAt - claims.issuedAt}`,
    );
  }
  const seconds = BigInt(Math.floor(now.getTime() / 1000));
  // Evidence for a nonce of now was made now: then the two clocks differ, and nothing else is shown.
  const clocks = 'nonce' in expected ? `; the nonce is this request's, so the node's clock and this one differ` : '';
  if (seconds < claims.issuedAt - SKEW) {
    throw new EvidenceError(
      'freshness',
      'freshness.not_yet_valid',
      `expected claims issued by ${now.toISOString()}, got some of ${iso(claims.issuedAt)}${clocks}`,
    );
  }
  if (seconds > claims.expiresAt + SKEW) {
    throw new EvidenceError(
      'freshness',
      'freshness.expired',
      `expected claims good at ${now.toISOString()}, got some that ended ${iso(claims.expiresAt)}${clocks}`,
      { issuedAt: new Date(Number(claims.issuedAt) * 1000) },
    );
  }
  const nonce = 'nonce' in expected ? `nonce ${claims.nonce.toString('hex')}` : 'nonce not compared';
  return {
    value: undefined,
    detail: `${purposeToJSON(claims.purpose)}, ${nonce}, good until ${iso(claims.expiresAt)}`,
  };
}

/** The certificate beside the claims is the one that they name, and the one that is expected, where one is. @throws EvidenceError certificate_hash.… */
export function checkCertificateHash(claims: Claims, certificate: Buffer, expected: Expected): Passed<void> {
  const hash = sha256(certificate);
  if (!hash.equals(claims.certificateSha256)) {
    throw new EvidenceError(
      'certificate_hash',
      'certificate_hash.mismatch',
      `expected a certificate with SHA-256 ${claims.certificateSha256.toString('hex')}, got ${hash.toString('hex')}`,
    );
  }
  if ('certificateSha256' in expected && !expected.certificateSha256.equals(hash)) {
    throw new EvidenceError(
      'certificate_hash',
      'certificate_hash.unexpected',
      `expected the certificate with SHA-256 ${expected.certificateSha256.toString('hex')}, got ${hash.toString('hex')}`,
    );
  }
  return { value: undefined, detail: `SHA-256 ${hash.toString('hex')}` };
}

/** @param akNode node in the attestation key's certificate: what the TPM is, against what the claims say */
export function checkIdentity(claims: Claims, akNode: string, expected: Expected): Passed<void> {
  if (claims.node !== akNode) {
    throw new EvidenceError(
      'identity',
      'identity.ak_node',
      `expected claims about node ${akNode}, whose TPM signed, got ${claims.node}`,
    );
  }
  if (expected.situation !== 'archived') {
    if (!expected.clientKeySha256.equals(claims.clientKeySha256)) {
      throw new EvidenceError(
        'identity',
        'identity.client_key',
        `expected client key ${expected.clientKeySha256.toString('hex')}, got ${claims.clientKeySha256.toString('hex')}`,
      );
    }
    // The exporter is no secret: both ends derive it, and it opens nothing. Left out of messages all the same.
    if (expected.situation === 'session' && !expected.tlsExporter.equals(claims.tlsExporter)) {
      throw new EvidenceError(
        'identity',
        'identity.tls_exporter',
        "expected this session's TLS exporter, got another one",
      );
    }
    compareText('user', claims.user, expected.user);
    if (expected.situation !== 'seat') {
      compareText('enclave', enclaveOf(claims), expected.enclave);
      compareText('workload', claims.workloadUid, expected.workloadUid);
      compareText('node', claims.node, expected.node);
    }
    if (expected.situation === 'session') compareText('image', claims.imageDigest, expected.imageDigest);
  }
  return {
    value: undefined,
    detail: `user ${claims.user}, enclave ${enclaveOf(claims)}, workload ${claims.workloadUid}, node ${claims.node}`,
  };
}

/** @param expected undefined where only the claims say */
function compareText(
  what: 'user' | 'enclave' | 'workload' | 'node' | 'image',
  got: string,
  expected: string | undefined,
): void {
  if (expected !== undefined && got !== expected)
    throw new EvidenceError('identity', `identity.${what}`, `expected ${what} ${expected}, got ${got}`);
}

function iso(seconds: bigint): string {
  return new Date(Number(seconds) * 1000).toISOString();
}
