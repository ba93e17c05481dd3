import { sha256 } from '../crypto';
import { TpmError } from './errors';
import { parsePublic } from './public';
import type { TpmPublic } from './public';

/**
 * Policies of endorsement keys (TCG EK Credential Profile 2.5, B.6): A is TPM2_PolicySecret of the endorsement hierarchy; B is TPM2_PolicyOR
 * of A and C, where C is TPM2_PolicyAuthorizeNV of an index that belongs to the platform. What satisfies A satisfies B.
 */
const POLICY_A_SHA256 = '837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa';
const POLICY_B_SHA256 = 'ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0';
const POLICY_B_SHA384 =
  'b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12';

/** Digests whose TPM2_PolicyOR is policy B, by the name algorithm: A, then C. */
export const POLICY_B_BRANCHES = {
  sha256: [POLICY_A_SHA256, '3767e2edd43ff45a3a7e1eaefcef78643dca964632e7aad82c673a30d8633fde'],
  sha384: [
    '8bbf2266537c171cb56e403c4dc1d4b64f432611dc386e6f532050c3278c930e143e8bb1133824ccb431053871c6db53',
    'd6032ce61f2fb3c240eb3cf6a33237ef2b6a16f4293c22b455e261cffd217ad5b4947c2d73e63005eed2dc2b3593d165',
  ],
} as const;

/** A default template of the profile (B.3.3, B.3.4, B.4): every key of it has the same public area up to the modulus or the point. */
export interface EndorsementTemplate {
  /** As the profile calls it: L for the low range of NV indexes, H for the high one. */
  name: 'L-1' | 'L-2' | 'H-1' | 'H-2' | 'H-3' | 'H-6';
  key: 'RSA 2048' | 'RSA 3072' | 'ECC P-256' | 'ECC P-384';
  nameAlgorithm: 'sha256' | 'sha384';
  policy: 'A' | 'B';
  /** authPolicy. */
  authPolicy: Buffer;
  /** NV index of the certificate (2.2.1.4, 2.2.1.5). */
  certificateIndex: number;
  /** What stands before the modulus or the point. */
  prefix: Buffer;
}

/** restricted, decrypt, adminWithPolicy, fixedTPM, fixedParent, sensitiveDataOrigin; the high range has userWithAuth too. */
const ATTRIBUTES = { A: '000300b2', B: '000300f2' } as const;
/** TPMS_RSA_PARMS behind the symmetric algorithm, or TPMS_ECC_PARMS: no scheme, no KDF. */
const PARAMETERS = {
  'RSA 2048': '0010080000000000',
  'RSA 3072': '00100c0000000000',
  'ECC P-256': '001000030010',
  'ECC P-384': '001000040010',
} as const;

function template(
  name: EndorsementTemplate['name'],
  key: EndorsementTemplate['key'],
  policy: 'A' | 'B',
  authPolicy: string,
  certificateIndex: number,
): EndorsementTemplate {
  const nameAlgorithm = authPolicy === POLICY_B_SHA384 ? 'sha384' : 'sha256';
  const [algorithm, size, aes] = nameAlgorithm === 'sha384' ? ['000c', '0030', '0100'] : ['000b', '0020', '0080'];
  const type = key.startsWith('RSA') ? '0001' : '0023';
  const area = `${type}${algorithm}${ATTRIBUTES[policy]}${size}${authPolicy}0006${aes}0043${PARAMETERS[key]}`;
  return {
    name,
    key,
    nameAlgorithm,
    policy,
    authPolicy: Buffer.from(authPolicy, 'hex'),
    certificateIndex,
    prefix: Buffer.from(area, 'hex'),
  };
}

/** In the order in which an attestor looks for a key with a certificate: those that have always been taken come first. */
export const ENDORSEMENT_TEMPLATES: readonly EndorsementTemplate[] = [
  template('L-1', 'RSA 2048', 'A', POLICY_A_SHA256, 0x01c00002),
  template('L-2', 'ECC P-256', 'A', POLICY_A_SHA256, 0x01c0000a),
  template('H-1', 'RSA 2048', 'B', POLICY_B_SHA256, 0x01c00012),
  template('H-2', 'ECC P-256', 'B', POLICY_B_SHA256, 0x01c00014),
  template('H-3', 'ECC P-384', 'B', POLICY_B_SHA384, 0x01c00016),
  template('H-6', 'RSA 3072', 'B', POLICY_B_SHA384, 0x01c0001c),
];

/**
 * Parses the TPMT_PUBLIC of an endorsement key. It must be a default template's, byte for byte: then one key has one public area and one hash
 * (`endorsementKeyHash`), and nobody gets a second identity for a TPM by writing its key in another way.
 * @throws TpmError
 */
export function parseEndorsementKey(bytes: Uint8Array): TpmPublic {
  const key = parsePublic(bytes);
  const unique = key.type === 'rsa' ? [key.modulus] : [key.x, key.y];
  const written = Buffer.concat(unique.flatMap((number) => [Buffer.from([number.length >> 8, number.length]), number]));
  if (!ENDORSEMENT_TEMPLATES.some(({ prefix }) => Buffer.concat([prefix, written]).equals(bytes))) {
    const names = ENDORSEMENT_TEMPLATES.map(({ name, key: kind }) => `${name} (${kind})`);
    throw new TpmError(
      'tpm.unsupported',
      `expected an endorsement key of the default templates ${names.join(', ')}, got another one`,
    );
  }
  return key;
}

/** SHA-256 of the endorsement key's TPMT_PUBLIC, hex: what a TPM is known by. */
export function endorsementKeyHash(ek: TpmPublic): string {
  return sha256(ek.bytes).toString('hex');
}
