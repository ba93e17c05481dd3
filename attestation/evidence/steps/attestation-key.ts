import { isSameKey } from '../../crypto';
import type { PublicKey } from '../../crypto';
import type { Evidence } from '../../../proto/gen/licensing/v1/evidence';
import { verifyAttestationKeyChain } from '../../certificates/attestation-key';
import type { AttestationKeyCertificate } from '../../certificates/attestation-key';
import { attestationKeyName } from '../../tpm/attestation-key';
import { hashName, TPM_ALG } from '../../tpm/constants';
import type { ObjectAttribute } from '../../tpm/constants';
import { hasAttribute, parsePublic, publicKeyObject } from '../../tpm/public';
import type { TpmPublic } from '../../tpm/public';
import { parseSignature, verifyEcdsaP256 } from '../../tpm/signature';
import { EvidenceError } from '../errors';
import type { Passed } from './step';

/** The key that signed the quote, as its certificate and its public area have it. */
export interface AttestationKey {
  certificate: AttestationKeyCertificate;
  public: TpmPublic;
  key: PublicKey;
  /** SHA-256 of the certified TPMT_PUBLIC, hex, by the certificate: what a revocation names. */
  sha256: string;
}

/** Longest structures that are looked at, in bytes. */
const MAX_ATTEST_BYTES = 1024;

/** The chain leads to a root of the trust bundle, and certifies the very public area that is in the evidence, not only its key. */
export function checkAkCertificate(
  evidence: Pick<Evidence, 'akCertificates' | 'akPublic'>,
  trust: { attestationRoots: readonly string[]; trustDomain: string },
  now: Date,
): Passed<AttestationKey> {
  const certificate = verifyAttestationKeyChain(evidence.akCertificates, trust.attestationRoots, now);
  if (certificate.trustDomain !== trust.trustDomain) {
    throw new EvidenceError(
      'ak_certificate',
      'ak_certificate.trust_domain',
      `expected trust domain ${trust.trustDomain}, got ${certificate.trustDomain}`,
    );
  }
  const area = parsePublic(evidence.akPublic);
  const key = publicKeyObject(area);
  if (!isSameKey(key, certificate.publicKey)) {
    throw new EvidenceError(
      'ak_certificate',
      'ak_certificate.key_mismatch',
      'expected the certified attestation key, got another one',
    );
  }
  const name = attestationKeyName(area);
  if (certificate.name === undefined || !name.equals(certificate.name)) {
    throw new EvidenceError(
      'ak_certificate',
      'ak_certificate.public_area',
      `expected the public area with Name ${certificate.name?.toString('hex') ?? 'by its certificate'}, got one with Name ${name.toString('hex')}`,
    );
  }
  const { manufacturer, model, software } = certificate.details;
  const tpm = `${software ? 'software' : 'hardware'} TPM ${manufacturer} ${model}`.trim();
  return {
    value: { certificate, public: area, key, sha256: certificate.name.subarray(2).toString('hex') },
    detail: `node ${certificate.node}, ${tpm}, certified until ${certificate.notAfter.toISOString()}`,
  };
}

const REQUIRED: ObjectAttribute[] = ['restricted', 'sign', 'fixedTPM', 'fixedParent', 'sensitiveDataOrigin'];

/** Only a restricted signing key that can't leave its TPM refuses to sign a TPMS_ATTEST that somebody else wrote (Part 1, 25.3). */
export function checkAkAttributes(key: TpmPublic): Passed<void> {
  if (
    key.type !== 'ecc' ||
    key.curve !== 'P-256' ||
    key.scheme.algorithm !== TPM_ALG.ECDSA ||
    key.scheme.hash !== TPM_ALG.SHA256
  ) {
    const got =
      key.type === 'ecc'
        ? `${key.curve} with scheme ${key.scheme.algorithm}, ${hashName(key.scheme.hash ?? 0)}`
        : 'RSA';
    throw new EvidenceError(
      'ak_attributes',
      'ak_attributes.algorithm',
      `expected ECDSA on P-256 with SHA-256, got ${got}`,
    );
  }
  const missing = REQUIRED.filter((attribute) => !hasAttribute(key, attribute));
  if (missing.length > 0 || hasAttribute(key, 'decrypt')) {
    const wrong = [
      ...missing.map((attribute) => `no ${attribute}`),
      ...(hasAttribute(key, 'decrypt') ? ['decrypt'] : []),
    ];
    throw new EvidenceError(
      'ak_attributes',
      'ak_attributes.attributes',
      `expected ${REQUIRED.join(', ')} and no decrypt, got ${wrong.join(', ')}`,
    );
  }
  return { value: undefined, detail: `ECDSA P-256 SHA-256, ${REQUIRED.join(', ')}` };
}

/** Over the bytes exactly as received: the same that are parsed next. */
export function checkSignature(evidence: Pick<Evidence, 'attest' | 'signature'>, key: PublicKey): Passed<void> {
  if (evidence.attest.length > MAX_ATTEST_BYTES) {
    throw new EvidenceError(
      'signature',
      'signature.malformed',
      `expected ${MAX_ATTEST_BYTES} signed bytes at most, got ${evidence.attest.length}`,
    );
  }
  if (!verifyEcdsaP256(key, parseSignature(evidence.signature), evidence.attest)) {
    throw new EvidenceError(
      'signature',
      'signature.mismatch',
      'expected a signature by the attestation key over these bytes, got another one',
    );
  }
  return { value: undefined, detail: `over ${evidence.attest.length} bytes` };
}
