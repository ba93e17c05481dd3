import type { PublicKey } from '../crypto';
import { z } from 'zod';
import { DER, DerReader } from '../bytes/der';
import { BytesError } from '../bytes/reader';
import { NAME_BYTES, templateName } from '../tpm/attestation-key';
import { TPM_ALG } from '../tpm/constants';
import { parseCertificate, verifyChain } from './chain';
import type { ParsedCertificate } from './chain';
import { CertificateError } from './errors';
import { KEY_USAGE, URI_TAG } from './fields';
import { decodeUtf8 } from '../bytes/utf8';

/** tcg-kp-AIKCertificate: the purpose of attestation keys (TCG EK Credential Profile for TPM Family 2.0, "OIDs"). */
export const ATTESTATION_KEY_PURPOSE = '2.23.133.8.3';

/**
 * Extension with AttestationKeyDetails: a DER UTF8String that holds JSON. Not critical. The arc is the one that RFC 5612 sets aside for documentation:
 * these certificates never leave an installation, which has no enterprise number of its own, and the library can't write OIDs of the UUID arc (2.25).
 */
export const ATTESTATION_KEY_DETAILS = '1.3.6.1.4.1.32473.1.1';

/**
 * Extension with the key's Name (TPM 2.0 Part 1, 16): a DER OCTET STRING of algorithm and digest. Not critical: verifiers of earlier releases pass
 * over it. It makes one public area the certified one, where the key alone would leave its attributes to whoever presents it.
 */
export const ATTESTATION_KEY_NAME = '1.3.6.1.4.1.32473.1.2';

/** A verifier passes over what a newer release adds; what it must not pass over is a critical extension. */
const detailsSchema = z.object({
  /** SHA-256 of the endorsement key's TPMT_PUBLIC, hex. */
  ekSha256: z.string().regex(/^[0-9a-f]{64}$/),
  manufacturer: z.string().max(64),
  model: z.string().max(64),
  firmware: z.string().max(64),
  /** The TPM is a program. */
  software: z.boolean(),
});

/** What the attestation authority found out about the TPM that holds the key. */
export type AttestationKeyDetails = z.infer<typeof detailsSchema>;

/** What an attestation key's certificate says: whose node, which key, which TPM. */
export interface AttestationKeyCertificate {
  trustDomain: string;
  node: string;
  publicKey: PublicKey;
  /** The one Name that a presented public area may have; undefined where neither the certificate nor the attestor's template tells it. */
  name: Buffer | undefined;
  details: AttestationKeyDetails;
  notBefore: Date;
  notAfter: Date;
}

/** RFC 1123 subdomain, as Kubernetes names nodes. */
const DNS_NAME = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*';
const NODE_URI = new RegExp(`^spiffe://(${DNS_NAME})/node/(${DNS_NAME})$`);
const MAX_NAME_LENGTH = 253;

/**
 * Reads an attestation key's certificate; who signed it is verifyAttestationKeyChain's question.
 * @throws CertificateError
 */
export function readAttestationKeyCertificate(der: Uint8Array): AttestationKeyCertificate {
  return readFields(parseCertificate(der));
}

/**
 * Verifies the chain (DER, leaf first) up to one of the roots (PEM) at `now`, and reads the leaf.
 * @throws CertificateError
 */
export function verifyAttestationKeyChain(
  certificates: readonly Uint8Array[],
  roots: readonly string[],
  now: Date,
): AttestationKeyCertificate {
  return readFields(verifyChain({ certificates, roots, now, purpose: ATTESTATION_KEY_PURPOSE }));
}

function readFields({ fields, publicKey }: ParsedCertificate): AttestationKeyCertificate {
  if (((fields.keyUsage ?? 0) & KEY_USAGE.digitalSignature) === 0) {
    throw new CertificateError('certificate.usage', 'expected key usage digitalSignature, got none');
  }
  const names = fields.subjectAlternativeNames;
  const only = names[0];
  if (names.length !== 1 || only?.tag !== URI_TAG) {
    throw new CertificateError(
      'certificate.name',
      `expected one URI as subject alternative name, got ${names.length} names`,
    );
  }
  const extension = fields.extensions.get(ATTESTATION_KEY_DETAILS);
  if (extension === undefined)
    throw new CertificateError('certificate.details', 'expected the details of the TPM in the certificate, got none');
  return {
    ...parseNodeUri(only.value.toString('latin1')),
    publicKey,
    name: readName(fields.extensions.get(ATTESTATION_KEY_NAME)?.value) ?? templateName(publicKey),
    details: decodeDetails(extension.value),
    notBefore: fields.notBefore,
    notAfter: fields.notAfter,
  };
}

/** @throws CertificateError certificate.details */
function readName(value: Buffer | undefined): Buffer | undefined {
  if (value === undefined) return undefined;
  try {
    const reader = new DerReader(value, 'name');
    const name = reader.expect(DER.OCTET_STRING);
    reader.end();
    if (name.length === NAME_BYTES && name.readUInt16BE() === TPM_ALG.SHA256) return name;
  } catch (error) {
    if (!(error instanceof BytesError)) throw error;
  }
  throw new CertificateError('certificate.details', "expected the key's Name by SHA-256, got something else");
}

/** Reads spiffe://TRUST_DOMAIN/node/NODE. @throws CertificateError certificate.name */
export function parseNodeUri(uri: string): { trustDomain: string; node: string } {
  const [, trustDomain, node] = NODE_URI.exec(uri) ?? [];
  if (
    trustDomain === undefined ||
    node === undefined ||
    trustDomain.length > MAX_NAME_LENGTH ||
    node.length > MAX_NAME_LENGTH
  ) {
    throw new CertificateError(
      'certificate.name',
      'expected spiffe://TRUST_DOMAIN/node/NODE with DNS names in lower case, got something else',
    );
  }
  return { trustDomain, node };
}

/** @throws CertificateError certificate.details */
export function parseDetails(value: unknown): AttestationKeyDetails {
  const result = detailsSchema.safeParse(value);
  if (result.success) return result.data;
  const fields = result.error.issues.map((issue) => issue.path.join('.') || issue.code).join(', ');
  throw new CertificateError('certificate.details', `expected the details of a TPM, got wrong values in: ${fields}`);
}

function decodeDetails(value: Buffer): AttestationKeyDetails {
  let json: unknown;
  try {
    const reader = new DerReader(value, 'details');
    json = JSON.parse(decodeUtf8(reader.expect(DER.UTF8_STRING)));
    reader.end();
  } catch (error) {
    throw new CertificateError(
      'certificate.details',
      'expected a UTF8String with JSON as details of the TPM, got something else',
      { cause: error },
    );
  }
  return parseDetails(json);
}
