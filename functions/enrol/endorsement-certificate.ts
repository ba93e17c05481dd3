import { DER, decodeOid, DerReader } from '../../attestation/bytes/der';
import type { AttestationKeyDetails } from '../../attestation/certificates/attestation-key';
import { isNamedAsIssuer, parseCertificate, verifyChain } from '../../attestation/certificates/chain';
import { CertificateError } from '../../attestation/certificates/errors';
import type { ParsedCertificate } from '../../attestation/certificates/chain';
import { completeChain, makePool } from '../../attestation/certificates/complete-chain';
import type { IntermediatePool } from '../../attestation/certificates/complete-chain';
import { isSameKey } from '../../attestation/crypto';
import { publicKeyObject } from '../../attestation/tpm/public';
import type { TpmPublic } from '../../attestation/tpm/public';

/** Whose endorsement keys are taken. */
export interface EndorsementTrust {
  /** PEM, one certificate each. */
  roots: readonly string[];
  intermediates: IntermediatePool;
  /** By SHA-256 of TPMT_PUBLIC in hex: TPMs without a certificate that the operator vouches for. */
  hashes: ReadonlyMap<string, { software: boolean }>;
}

/** tcg-kp-EKCertificate (TCG EK Credential Profile, 3.2.16). Some makers leave the extension out. */
const EK_PURPOSE = '2.23.133.8.1';
/** tcg-at-tpmManufacturer, tcg-at-tpmModel, tcg-at-tpmVersion (TCG EK Credential Profile, 3.1.2), in a directoryName. */
const ATTRIBUTES: Record<string, 'manufacturer' | 'model' | 'firmware'> = {
  '2.23.133.2.1': 'manufacturer',
  '2.23.133.2.2': 'model',
  '2.23.133.2.3': 'firmware',
};
const DIRECTORY_NAME_TAG = 4;
const SET = 0x31;
const MAX_TEXT_LENGTH = 64;

/** Vendor ids (TCG Vendor ID Registry) of those who only make programs: IBM's, swtpm writes it too, and Microsoft's reference code (XYZ, SW). */
const SOFTWARE_VENDORS = new Set(['49424D00', '00001014', '58595A20', '53572020']);
const SOFTWARE_MODEL = /swtpm|simulator|software tpm/i;

export type TpmDetails = Omit<AttestationKeyDetails, 'ekSha256'>;

/**
 * Verifies that a trusted maker certified this endorsement key, and reads what it says about the TPM. Nothing that the certificate points to is fetched.
 * @param certificates DER, leaf first
 * @throws CertificateError
 */
export function verifyEndorsement(
  ek: TpmPublic,
  certificates: readonly Uint8Array[],
  trust: EndorsementTrust,
  now: Date,
): TpmDetails {
  const chain = completeChain(certificates, trust.intermediates);
  const leaf = verifyMakersChain(chain, trust.roots, now);
  const details = readDetails(leaf);
  const { extendedKeyUsage: purposes } = leaf.fields;
  // Makers' roots certify more than TPMs: a certificate without a purpose has to say otherwise that its key is in one.
  if (!purposes.includes(EK_PURPOSE) && (purposes.length > 0 || details.manufacturer === '')) {
    throw new CertificateError(
      'certificate.usage',
      `expected the purpose of endorsement keys (${EK_PURPOSE}), got ${purposes.join(', ') || 'none'}`,
    );
  }
  if (!isSameKey(leaf.publicKey, publicKeyObject(ek))) {
    throw new CertificateError(
      'certificate.untrusted',
      'expected the certificate of the given endorsement key, got one of another key',
    );
  }
  return details;
}

/**
 * A software TPM is made by whoever runs its machine, at a first start and by that machine's clock. Where that was ahead then, and has been put right since, its
 * certificate begins later than now, which says nothing against it: it is judged as of its beginning. @throws CertificateError
 */
function verifyMakersChain(
  certificates: readonly Uint8Array[],
  roots: readonly string[],
  now: Date,
): ParsedCertificate {
  const chain = { certificates, roots, form: 'maker' as const };
  try {
    return verifyChain({ ...chain, now });
  } catch (error) {
    if (!(error instanceof CertificateError) || error.code !== 'certificate.not_yet_valid') throw error;
    const parsed = certificates.map((der) => parseCertificate(der, 'maker'));
    if (parsed[0] === undefined || !readDetails(parsed[0]).software) throw error;
    const top = parsed[parsed.length - 1]!.fields;
    const issuers = makePool(roots).filter((root) => isNamedAsIssuer(top, root));
    const begins = [...parsed.map(({ fields }) => fields), ...issuers].map(({ notBefore }) => notBefore.getTime());
    return verifyChain({ ...chain, now: new Date(Math.max(...begins)) });
  }
}

/** Attributes of the TPM in the subject's alternative name (TCG EK Credential Profile, 3.2.9). @throws BytesError */
function readDetails(leaf: ParsedCertificate): TpmDetails {
  const details: TpmDetails = { manufacturer: '', model: '', firmware: '', software: false };
  for (const { tag, value } of leaf.fields.subjectAlternativeNames) {
    if (tag !== DIRECTORY_NAME_TAG) continue;
    // Makers put one attribute into each set, or all into one.
    for (const set of new DerReader(value, 'EK certificate').inside(DER.SEQUENCE).all(SET)) {
      for (const attribute of new DerReader(set, 'EK certificate').all(DER.SEQUENCE)) {
        const reader = new DerReader(attribute, 'EK certificate');
        const name = ATTRIBUTES[decodeOid(reader.expect(DER.OID))];
        if (name !== undefined) details[name] = readText(reader.next().content);
      }
    }
  }
  const vendor = details.manufacturer.replace(/^id:/i, '').toUpperCase();
  details.software = SOFTWARE_VENDORS.has(vendor) || SOFTWARE_MODEL.test(details.model);
  return details;
}

function readText(bytes: Buffer): string {
  return bytes
    .toString('latin1')
    .replace(/[^\x20-\x7e]+/g, ' ')
    .slice(0, MAX_TEXT_LENGTH);
}
