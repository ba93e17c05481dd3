import 'reflect-metadata';
import { createPrivateKey, webcrypto } from 'node:crypto';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';
import {
  ATTESTATION_KEY_DETAILS,
  ATTESTATION_KEY_NAME,
  ATTESTATION_KEY_PURPOSE,
  parseDetails,
  parseNodeUri,
} from '../../attestation/certificates/attestation-key';
import type { AttestationKeyDetails } from '../../attestation/certificates/attestation-key';
import { exportSpki } from '../../attestation/crypto';
import { attestationKeyName } from '../../attestation/tpm/attestation-key';
import { parsePublic, publicKeyObject } from '../../attestation/tpm/public';
import { randomSerial } from '../../runtime/keys/key-pair';
import { dateOf, systemClock } from '../../runtime/clock';

/** No attestation key's certificate lives longer, whatever enrol is set to. Revocation lists and rotation of the authority go by it. */
export const MAX_ATTESTATION_KEY_CERTIFICATE_DAYS = 90;
/** Clocks of authority and verifier differ by this at most. */
const BACKDATE_MS = 5 * 60_000;

/**
 * Certifies an attestation key for a node: spiffe://TRUST_DOMAIN/node/NODE in the subject alternative name. The validity ends with the authority's
 * at the latest. Call it only after credential activation has shown that the key lives in the TPM of `details.ekSha256`.
 * @param request.akPublic the key's TPMT_PUBLIC: its Name stands in the certificate
 * @param request.days MAX_ATTESTATION_KEY_CERTIFICATE_DAYS at most
 * @returns DER
 * @throws CertificateError certificate.name, certificate.details; TpmError; TypeError
 */
export async function issueAttestationKeyCertificate(request: {
  ca: { certificate: string; privateKey: string };
  trustDomain: string;
  node: string;
  akPublic: Uint8Array;
  details: AttestationKeyDetails;
  days: number;
  now?: Date;
}): Promise<Buffer> {
  const uri = `spiffe://${request.trustDomain}/node/${request.node}`;
  parseNodeUri(uri);
  if (!(request.days > 0 && request.days <= MAX_ATTESTATION_KEY_CERTIFICATE_DAYS))
    throw new TypeError(`expected 1 to ${MAX_ATTESTATION_KEY_CERTIFICATE_DAYS} days of life, got ${request.days}`);
  const area = parsePublic(request.akPublic);
  const spki = exportSpki(publicKeyObject(area));
  const authority = new X509Certificate(request.ca.certificate);
  const now = request.now ?? dateOf(systemClock);
  const end = new Date(now.getTime() + request.days * 86_400_000);
  const { key, algorithm } = await importSigningKey(request.ca.privateKey);
  const certificate = await X509CertificateGenerator.create(
    {
      serialNumber: randomSerial(),
      issuer: authority.subjectName,
      // The subject's common name has 64 characters at most (RFC 5280, appendix A.1); the full name is the URI.
      subject: [{ CN: [request.node.slice(0, 64)] }],
      notBefore: new Date(now.getTime() - BACKDATE_MS),
      notAfter: end < authority.notAfter ? end : authority.notAfter,
      publicKey: new Uint8Array(spki),
      signingKey: key,
      signingAlgorithm: algorithm,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension([ATTESTATION_KEY_PURPOSE]),
        new SubjectAlternativeNameExtension([{ type: 'url', value: uri }]),
        await AuthorityKeyIdentifierExtension.create(authority.publicKey, false, webcrypto),
        await SubjectKeyIdentifierExtension.create(new Uint8Array(spki).buffer, false, webcrypto),
        new Extension(ATTESTATION_KEY_NAME, false, encodeOctetString(attestationKeyName(area))),
        new Extension(ATTESTATION_KEY_DETAILS, false, encodeUtf8String(JSON.stringify(parseDetails(request.details)))),
      ],
    },
    webcrypto,
  );
  return Buffer.from(certificate.rawData);
}

/** DER UTF8String (X.690, 8.23) of up to 65,535 bytes. */
function encodeUtf8String(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  const { length } = bytes;
  const head =
    length < 0x80 ? [0x0c, length] : length < 0x100 ? [0x0c, 0x81, length] : [0x0c, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), bytes]);
}

/** DER OCTET STRING (X.690, 8.7) of up to 127 bytes. */
function encodeOctetString(bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([0x04, bytes.length]), bytes]);
}

async function importSigningKey(
  pem: string,
): Promise<{ key: webcrypto.CryptoKey; algorithm: webcrypto.EcdsaParams & webcrypto.EcKeyImportParams }> {
  const key = createPrivateKey(pem);
  const namedCurve = key.asymmetricKeyDetails?.namedCurve === 'secp384r1' ? 'P-384' : 'P-256';
  const algorithm = { name: 'ECDSA', namedCurve, hash: namedCurve === 'P-384' ? 'SHA-384' : 'SHA-256' };
  const pkcs8 = key.export({ format: 'der', type: 'pkcs8' });
  return { key: await webcrypto.subtle.importKey('pkcs8', pkcs8, algorithm, false, ['sign']), algorithm };
}
