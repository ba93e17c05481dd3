import { describeKey, importSpki, verifySignature } from '../crypto';
import type { PublicKey, SignatureAlgorithm } from '../crypto';
import { isRocaModulus } from '../tpm/roca';
import { CertificateError } from './errors';
import { EXTENSION, KEY_USAGE, readCertificateFields } from './fields';
import type { CertificateFields, CertificateForm } from './fields';
import { certificateDer } from './pem';

/** One certificate, read and its key weighed; nothing is verified yet. */
export interface ParsedCertificate {
  der: Buffer;
  fields: CertificateFields;
  publicKey: PublicKey;
}

interface ChainRequirements {
  /** DER, leaf first, each certified by the next. */
  certificates: readonly Uint8Array[];
  /** PEM, one certificate each. */
  roots: readonly string[];
  now: Date;
  /** Extended key usage that the leaf must name, as an OID. */
  purpose?: string;
  /** `strict` unless told. */
  form?: CertificateForm;
}

/** Longest chain below a root, and largest certificate: an attacker chooses both. Some TPM makers have four authorities between root and key. */
const MAX_CHAIN_LENGTH = 6;
const MAX_CERTIFICATE_BYTES = 16 * 1024;

/** ECDSA (RFC 5758, 3.2) and RSASSA-PKCS1-v1_5 (RFC 8017, A.2.4) with SHA-256, SHA-384 and SHA-512. */
const SIGNATURES: ReadonlyMap<string, SignatureAlgorithm> = new Map([
  ['1.2.840.10045.4.3.2', { type: 'ec', hash: 'sha256' }],
  ['1.2.840.10045.4.3.3', { type: 'ec', hash: 'sha384' }],
  ['1.2.840.10045.4.3.4', { type: 'ec', hash: 'sha512' }],
  ['1.2.840.113549.1.1.11', { type: 'rsa', hash: 'sha256' }],
  ['1.2.840.113549.1.1.12', { type: 'rsa', hash: 'sha384' }],
  ['1.2.840.113549.1.1.13', { type: 'rsa', hash: 'sha512' }],
]);
/** What is understood here or by the reader of the leaf. Name constraints are not, so a CA that needs them is refused when they are critical. */
const KNOWN_CRITICAL = new Set<string>(Object.values(EXTENSION));

/**
 * Verifies a chain (RFC 5280, 6.1, for chains in order): every signature up to one of the roots, validity of each certificate at `now`,
 * CA flags, key usage and path length, the leaf's purpose, no unknown critical extension. Keys are weighed before they verify anything:
 * P-256, P-384 or P-521, or RSA of 2,048 to 4,096 bits. Nothing that a certificate points to is fetched; revocation is by short life.
 * @example
 *   const { publicKey } = verifyChain({
 *     certificates: [leaf, intermediate],
 *     roots: splitCertificates(pem),
 *     now,
 *     purpose: CLIENT_AUTH,
 *   });
 * @returns the leaf
 * @throws CertificateError
 */
export function verifyChain(requirements: ChainRequirements): ParsedCertificate {
  if (requirements.certificates.length === 0 || requirements.certificates.length > MAX_CHAIN_LENGTH) {
    throw new CertificateError(
      'certificate.malformed',
      `expected 1 to ${MAX_CHAIN_LENGTH} certificates, got ${requirements.certificates.length}`,
    );
  }
  const { form = 'strict' } = requirements;
  const chain = requirements.certificates.map((der) => parseCertificate(der, form));
  const leaf = chain[0] as ParsedCertificate;
  checkLeaf(leaf, requirements.purpose);
  verifyPath(chain, requirements.roots, requirements.now, form);
  return leaf;
}

/**
 * The part of verifyChain that is the same whatever the first certificate is.
 * @param roots PEM, one certificate each
 * @throws CertificateError
 */
export function verifyPath(
  chain: readonly ParsedCertificate[],
  roots: readonly string[],
  now: Date,
  form: CertificateForm = 'strict',
): void {
  chain.forEach((certificate, depth) => {
    checkFields(certificate, now);
    const issuer = chain[depth + 1];
    if (issuer === undefined) return;
    checkAuthority(issuer, depth);
    if (!isIssuedBy(certificate, issuer)) {
      throw new CertificateError(
        'certificate.untrusted',
        `expected ${nameOf(certificate)} to be signed by ${nameOf(issuer)}, got another signature`,
      );
    }
  });
  const last = chain[chain.length - 1] as ParsedCertificate;
  const root = roots.map((pem) => parseRoot(pem, form)).find((candidate) => isIssuedBy(last, candidate));
  if (root === undefined) {
    throw new CertificateError(
      'certificate.untrusted',
      `expected ${nameOf(last)} to be signed by a trusted root, got none of ${roots.length} that did`,
    );
  }
  checkFields(root, now);
  checkAuthority(root, chain.length - 1);
}

/** @throws CertificateError unless the bytes are one certificate, all of them, with a key worth using. */
export function parseCertificate(der: Uint8Array, form: CertificateForm = 'strict'): ParsedCertificate {
  if (der.length > MAX_CERTIFICATE_BYTES) {
    throw new CertificateError(
      'certificate.malformed',
      `expected a certificate of ${MAX_CERTIFICATE_BYTES} bytes at most, got ${der.length}`,
    );
  }
  let parsed: ParsedCertificate;
  try {
    const fields = readCertificateFields(der, form);
    parsed = { der: fields.der, fields, publicKey: importSpki(fields.spki) };
  } catch (error) {
    throw new CertificateError('certificate.malformed', 'expected a certificate in DER, got something else', {
      cause: error,
    });
  }
  checkKey(parsed.publicKey);
  return parsed;
}

/** Roots are the verifier's own and come again each time; parsing and weighing those of all TPM makers takes longer than the rest of a verification. */
const parsedRoots = new Map<string, ParsedCertificate>();
const MAX_PARSED_ROOTS = 256;

function parseRoot(pem: string, form: CertificateForm): ParsedCertificate {
  const known = parsedRoots.get(`${form} ${pem}`);
  if (known !== undefined) return known;
  const root = parseNewRoot(pem, form);
  if (parsedRoots.size >= MAX_PARSED_ROOTS) parsedRoots.clear();
  parsedRoots.set(`${form} ${pem}`, root);
  return root;
}

function parseNewRoot(pem: string, form: CertificateForm): ParsedCertificate {
  try {
    return parseCertificate(certificateDer(pem), form);
  } catch (error) {
    if (error instanceof CertificateError) throw error;
    throw new CertificateError('certificate.malformed', 'expected a root certificate in PEM, got something else', {
      cause: error,
    });
  }
}

function checkKey(publicKey: PublicKey): void {
  const key = describeKey(publicKey);
  if (key.type === 'other')
    throw new CertificateError('certificate.weak_key', `expected an EC or RSA key, got ${key.name}`);
  if (key.type === 'ec') {
    if (key.curve !== undefined) return;
    throw new CertificateError('certificate.weak_key', 'expected a key on P-256, P-384 or P-521, got another curve');
  }
  if (key.bits < 2048 || key.bits > 4096)
    throw new CertificateError('certificate.weak_key', `expected an RSA key of 2048 to 4096 bits, got ${key.bits}`);
  if (key.exponent < 65537n) {
    throw new CertificateError(
      'certificate.weak_key',
      `expected an RSA exponent of 65537 or more, got ${key.exponent}`,
    );
  }
  if (isRocaModulus(key.modulus)) {
    throw new CertificateError(
      'certificate.weak_key',
      'expected a sound RSA key, got one that ROCA (CVE-2017-15361) breaks',
    );
  }
}

function checkFields({ fields }: ParsedCertificate, now: Date): void {
  if (!SIGNATURES.has(fields.signatureAlgorithm)) {
    throw new CertificateError(
      'certificate.weak_signature',
      `expected ECDSA or RSA with SHA-256 or better, got algorithm ${fields.signatureAlgorithm}`,
    );
  }
  if (now < fields.notBefore) {
    throw new CertificateError(
      'certificate.not_yet_valid',
      `expected a certificate valid at ${now.toISOString()}, got one from ${fields.notBefore.toISOString()}`,
    );
  }
  if (now > fields.notAfter) {
    throw new CertificateError(
      'certificate.expired',
      `expected a certificate valid at ${now.toISOString()}, got one until ${fields.notAfter.toISOString()}`,
    );
  }
  for (const [oid, { critical }] of fields.extensions) {
    if (critical && !KNOWN_CRITICAL.has(oid)) {
      throw new CertificateError(
        'certificate.critical_extension',
        `expected no unknown critical extension, got ${oid}`,
      );
    }
  }
}

function checkLeaf({ fields }: ParsedCertificate, purpose: string | undefined): void {
  if (fields.basicConstraints?.ca === true) {
    throw new CertificateError('certificate.is_a_ca', 'expected a certificate of a key, got one of an authority');
  }
  if (purpose === undefined) return;
  if (!fields.extendedKeyUsage.includes(purpose)) {
    throw new CertificateError(
      'certificate.usage',
      `expected extended key usage ${purpose}, got ${fields.extendedKeyUsage.join(', ') || 'none'}`,
    );
  }
}

/** @param below number of certificates between this authority and the leaf (RFC 5280, 4.2.1.9) */
function checkAuthority(authority: ParsedCertificate, below: number): void {
  const { basicConstraints: constraints, keyUsage, encryptsOnly } = authority.fields;
  if (
    constraints?.ca !== true ||
    encryptsOnly ||
    (keyUsage !== undefined && (keyUsage & KEY_USAGE.keyCertSign) === 0)
  ) {
    throw new CertificateError(
      'certificate.not_a_ca',
      `expected ${nameOf(authority)} to be an authority, got a certificate that may not sign others`,
    );
  }
  if (constraints.pathLength !== undefined && below > constraints.pathLength) {
    throw new CertificateError(
      'certificate.path_length',
      `expected ${constraints.pathLength} authorities at most below ${nameOf(authority)}, got ${below}`,
    );
  }
}

/** By name and key identifier (RFC 5280, 4.2.1.1), then by signature: over the bytes as they stand. */
function isIssuedBy({ fields }: ParsedCertificate, issuer: ParsedCertificate): boolean {
  const algorithm = SIGNATURES.get(fields.signatureAlgorithm);
  return (
    algorithm !== undefined &&
    isNamedAsIssuer(fields, issuer.fields) &&
    verifySignature(issuer.publicKey, algorithm, fields.tbs, fields.signature)
  );
}

/** Whether the certificate says that `issuer` issued it. Only its signature shows that this is so. */
export function isNamedAsIssuer(
  certificate: Pick<CertificateFields, 'issuer' | 'authorityKeyId'>,
  issuer: Pick<CertificateFields, 'subject' | 'subjectKeyId'>,
): boolean {
  if (!certificate.issuer.isSame(issuer.subject)) return false;
  const [wanted, got] = [certificate.authorityKeyId, issuer.subjectKeyId];
  return wanted === undefined || got === undefined || wanted.equals(got);
}

function nameOf({ fields }: ParsedCertificate): string {
  return `"${fields.subject.toString()}"`;
}
