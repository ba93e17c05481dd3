import { Claims, Purpose } from '../../proto/gen/licensing/v1/evidence';
import { DEFAULT_ENCLAVE, isEnclaveName } from './enclave-name';
import { leafHash } from '../transparency/merkle';
import { EvidenceError } from './errors';

/*
 * The nonce's way into a TPM's signature, and back. Each hop refers to this comment.
 *
 *   nonce             32 random bytes of the client's (newNonce); functions/login and the enclave hand it on as it is
 *   → claims          the attestor writes it, beside who and what runs, into one canonical encoding (Attestor.claims, encodeClaims)
 *   → leaf            SHA-256(0x00 || claims), RFC 9162, 2.1.1 (claimsLeaf)
 *   → root            of the tree over the leaves of all requests that one quote answers (Attestor.quoteAll, merkleTree)
 *   → qualifyingData  of TPM2_Quote, signed by the TPM as extraData; PCR 23 is extended by the root too (quoteOnce)
 *
 * A verifier goes back: signature (checkSignature) → extraData (checkQuote) → root, PCR 23 and leaf (checkRoot) → claims
 * (checkClaimsForm) → nonce (checkFreshness). It believes no field of the claims before all of these held.
 */

/** Longest claims that are read, in bytes. */
const MAX_CLAIMS_BYTES = 4096;
/** An opaque id: printable ASCII without blanks. */
const ID = /^[\x21-\x7e]{1,128}$/;
const IMAGE_DIGEST = /^sha256:[0-9a-f]{64}$/;
/** RFC 1123 subdomain, as Kubernetes names nodes. */
const NODE = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/;

/**
 * The one encoding of these claims: what is hashed into the tree and sent.
 * @throws EvidenceError claims.invalid for claims that no verifier would take.
 */
export function encodeClaims(claims: Claims): Buffer {
  checkClaims(claims);
  return Buffer.from(Claims.encode(claims).finish());
}

/** Claims → leaf: of these bytes, exactly as sent. */
export function claimsLeaf(bytes: Uint8Array): Buffer {
  return leafHash(bytes);
}

/**
 * Parses claims. Bytes that aren't the canonical encoding of what they say are refused (unknown or repeated fields, another order):
 * no other reader of the same bytes may see other claims.
 * @throws EvidenceError of step claims
 */
export function parseClaims(bytes: Uint8Array): Claims {
  if (bytes.length > MAX_CLAIMS_BYTES) {
    throw new EvidenceError(
      'claims',
      'claims.too_long',
      `expected claims of ${MAX_CLAIMS_BYTES} bytes at most, got ${bytes.length}`,
    );
  }
  let claims: Claims;
  let again: Uint8Array;
  try {
    claims = Claims.decode(bytes);
    again = Claims.encode(claims).finish();
  } catch (error) {
    throw new EvidenceError('claims', 'claims.not_canonical', 'expected the encoding of claims, got something else', {
      cause: error,
    });
  }
  if (Buffer.compare(again, bytes) !== 0) {
    throw new EvidenceError(
      'claims',
      'claims.not_canonical',
      'expected the canonical encoding of the claims, got another one',
    );
  }
  checkClaims(claims);
  return claims;
}

/** Lengths and forms of every field, whatever their meaning. */
function checkClaims(claims: Claims): void {
  const session = claims.purpose === Purpose.PURPOSE_SESSION;
  if (!session && claims.purpose !== Purpose.PURPOSE_CERTIFICATE)
    throw invalid('purpose', 'certificate or session', String(claims.purpose));
  checkLength('nonce', claims.nonce, 32);
  checkLength('certificate_sha256', claims.certificateSha256, 32);
  checkLength('tls_exporter', claims.tlsExporter, session ? 32 : 0);
  checkLength('client_key_sha256', claims.clientKeySha256, 32);
  checkForm('user', claims.user, ID, 'printable text without blanks, 128 characters at most');
  checkForm('workload_uid', claims.workloadUid, ID, 'printable text without blanks, 128 characters at most');
  checkForm('image_digest', claims.imageDigest, IMAGE_DIGEST, 'sha256: and 64 hexadecimal digits');
  checkForm('node', claims.node, NODE, 'a DNS name in lower case');
  // One spelling for one enclave: the default one is left out, as in claims of before there were others.
  if (claims.enclave === DEFAULT_ENCLAVE || (claims.enclave !== '' && !isEnclaveName(claims.enclave))) {
    throw invalid('enclave', 'a DNS label other than default, or nothing', JSON.stringify(claims.enclave.slice(0, 80)));
  }
  if (claims.issuedAt <= 0n || claims.expiresAt <= claims.issuedAt || claims.expiresAt >= 1n << 40n) {
    throw invalid('expires_at', 'a time after issued_at', `${claims.issuedAt} to ${claims.expiresAt}`);
  }
}

function checkLength(field: string, value: Uint8Array, length: number): void {
  if (value.length !== length) throw invalid(field, `${length} bytes`, String(value.length));
}

function checkForm(field: string, value: string, form: RegExp, expected: string): void {
  if (!form.test(value)) throw invalid(field, expected, JSON.stringify(value.slice(0, 80)));
}

function invalid(field: string, expected: string, got: string): EvidenceError {
  return new EvidenceError('claims', 'claims.invalid', `${field}: expected ${expected}, got ${got}`);
}
