import { sha256 } from '../../crypto';
import type { Claims } from '../../../proto/gen/licensing/v1/evidence';
import { Purpose, purposeToJSON } from '../../../proto/gen/licensing/v1/evidence';
import { parseClaims } from '../claims';
import { enclaveOf } from '../enclave-name';
import { EvidenceError } from '../errors';
import type { Passed } from './step';

/** What the client knows from elsewhere. What is left out is not compared. */
export interface Expected {
  purpose?: Purpose | undefined;
  /** 32 bytes, the client's own. */
  nonce?: Buffer | undefined;
  /** SHA-256 of the client's SubjectPublicKeyInfo. */
  clientKeySha256?: Buffer | undefined;
  /** 32 bytes; has to be given where the purpose is the session. */
  tlsExporter?: Buffer | undefined;
  /** SHA-256 of the enclave's certificate, DER. */
  certificateSha256?: Buffer | undefined;
  user?: string | undefined;
  /** Name of the enclave among its user's. */
  enclave?: string | undefined;
  workloadUid?: string | undefined;
  node?: string | undefined;
}

/** Seconds by which the clocks of attestor and client may differ. */
const SKEW = 60n;
/** Longest life of evidence, in seconds. */
const LIFETIME_MAX = 600n;

export function checkClaimsForm(bytes: Buffer): Passed<Claims> {
  const claims = parseClaims(bytes);
  return { value: claims, detail: `canonical, ${bytes.length} bytes` };
}

export function checkFreshness(claims: Claims, expected: Expected, now: Date): Passed<void> {
  if (expected.purpose !== undefined && claims.purpose !== expected.purpose) {
    throw new EvidenceError(
      'freshness',
      'freshness.purpose',
      `expected ${purposeToJSON(expected.purpose)}, got ${purposeToJSON(claims.purpose)}`,
    );
  }
  if (expected.nonce !== undefined && !expected.nonce.equals(claims.nonce)) {
    throw new EvidenceError(
      'freshness',
      'freshness.nonce',
      `expected nonce ${expected.nonce.toString('hex')}, got ${claims.nonce.toString('hex')}`,
    );
  }
  if (claims.expiresAt - claims.issuedAt > LIFETIME_MAX) {
    throw new EvidenceError(
      'freshness',
      'freshness.lifetime',
      `expected ${LIFETIME_MAX} seconds of life at most, got ${claims.expiresAt - claims.issuedAt}`,
    );
  }
  const seconds = BigInt(Math.floor(now.getTime() / 1000));
  if (seconds < claims.issuedAt - SKEW) {
    throw new EvidenceError(
      'freshness',
      'freshness.not_yet_valid',
      `expected claims issued by ${now.toISOString()}, got some of ${iso(claims.issuedAt)}`,
    );
  }
  if (seconds > claims.expiresAt + SKEW) {
    throw new EvidenceError(
      'freshness',
      'freshness.expired',
      `expected claims good at ${now.toISOString()}, got some that ended ${iso(claims.expiresAt)}`,
    );
  }
  const nonce = expected.nonce === undefined ? 'nonce not compared' : `nonce ${claims.nonce.toString('hex')}`;
  return {
    value: undefined,
    detail: `${purposeToJSON(claims.purpose)}, ${nonce}, good until ${iso(claims.expiresAt)}`,
  };
}

export function checkCertificateHash(claims: Claims, certificate: Buffer, expected: Expected): Passed<void> {
  const hash = sha256(certificate);
  if (!hash.equals(claims.certificateSha256)) {
    throw new EvidenceError(
      'certificate_hash',
      'certificate_hash.mismatch',
      `expected a certificate with SHA-256 ${claims.certificateSha256.toString('hex')}, got ${hash.toString('hex')}`,
    );
  }
  if (expected.certificateSha256 !== undefined && !expected.certificateSha256.equals(hash)) {
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
  if (expected.clientKeySha256 !== undefined && !expected.clientKeySha256.equals(claims.clientKeySha256)) {
    throw new EvidenceError(
      'identity',
      'identity.client_key',
      `expected client key ${expected.clientKeySha256.toString('hex')}, got ${claims.clientKeySha256.toString('hex')}`,
    );
  }
  checkExporter(claims, expected);
  compareText('user', claims.user, expected.user);
  compareText('enclave', enclaveOf(claims), expected.enclave);
  compareText('workload', claims.workloadUid, expected.workloadUid);
  compareText('node', claims.node, expected.node);
  return {
    value: undefined,
    detail: `user ${claims.user}, enclave ${enclaveOf(claims)}, workload ${claims.workloadUid}, node ${claims.node}`,
  };
}

/** The exporter is no secret: both ends derive it, and it opens nothing. Left out of messages all the same. */
function checkExporter(claims: Claims, expected: Expected): void {
  if (expected.tlsExporter === undefined) {
    // Who asks for a session's evidence has to say which session, or it would hold for any.
    if (expected.purpose !== Purpose.PURPOSE_SESSION) return;
    throw new EvidenceError(
      'identity',
      'identity.tls_exporter',
      "expected the caller's own TLS exporter to compare with, got none",
    );
  }
  if (!expected.tlsExporter.equals(claims.tlsExporter)) {
    throw new EvidenceError(
      'identity',
      'identity.tls_exporter',
      "expected this session's TLS exporter, got another one",
    );
  }
}

function compareText(what: 'user' | 'enclave' | 'workload' | 'node', got: string, expected: string | undefined): void {
  if (expected !== undefined && got !== expected)
    throw new EvidenceError('identity', `identity.${what}`, `expected ${what} ${expected}, got ${got}`);
}

function iso(seconds: bigint): string {
  return new Date(Number(seconds) * 1000).toISOString();
}
