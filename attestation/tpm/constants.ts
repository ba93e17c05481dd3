/**
 * Values of the TPM 2.0 Library specification, Part 2 "Structures", that this project meets.
 * Section numbers are those of revision 1.59.
 */

/** TPM_GENERATED_VALUE (6.2): every structure that a TPM made itself and signed starts with it. */
export const TPM_GENERATED_VALUE = 0xff544347;

/** TPM_ST (6.9): types of TPMS_ATTEST. */
export const TPM_ST_ATTEST_CERTIFY = 0x8017;
export const TPM_ST_ATTEST_QUOTE = 0x8018;

/** TPM_ST (6.9): whether an authorization area goes with a command or response. */
export const TPM_ST_NO_SESSIONS = 0x8001;
export const TPM_ST_SESSIONS = 0x8002;

/** TPM_CC (6.5.2). */
export const TPM_CC = {
  PCR_Reset: 0x0000013d,
  Quote: 0x00000158,
  FlushContext: 0x00000165,
  GetCapability: 0x0000017a,
  PCR_Read: 0x0000017e,
  PCR_Extend: 0x00000182,
} as const;

/** TPM_RS_PW (7.4): the authorization is the value itself, without a session. */
export const TPM_RS_PW = 0x40000009;

/** TPM_CAP (6.12). */
export const TPM_CAP_HANDLES = 0x00000001;

/** TPM_HT (7.2): the first handle of each range that fills up where no resource manager is. */
export const FIRST_HANDLE = { loadedSession: 0x02000000, savedSession: 0x03000000, transient: 0x80000000 } as const;

/** TPM_ALG_ID (6.3). */
export const TPM_ALG = {
  RSA: 0x0001,
  SHA1: 0x0004,
  AES: 0x0006,
  SHA256: 0x000b,
  SHA384: 0x000c,
  SHA512: 0x000d,
  NULL: 0x0010,
  RSASSA: 0x0014,
  RSAES: 0x0015,
  RSAPSS: 0x0016,
  OAEP: 0x0017,
  ECDSA: 0x0018,
  ECDH: 0x0019,
  ECDAA: 0x001a,
  SM2: 0x001b,
  ECSCHNORR: 0x001c,
  ECMQV: 0x001d,
  ECC: 0x0023,
  CFB: 0x0043,
} as const;

/** TPM_ECC_CURVE (6.4). */
export const TPM_ECC_CURVE = { P192: 0x0001, P224: 0x0002, P256: 0x0003, P384: 0x0004, P521: 0x0005 } as const;

/** TPMA_OBJECT (8.3). */
export const TPMA_OBJECT = {
  fixedTPM: 1 << 1,
  stClear: 1 << 2,
  fixedParent: 1 << 4,
  sensitiveDataOrigin: 1 << 5,
  userWithAuth: 1 << 6,
  adminWithPolicy: 1 << 7,
  noDA: 1 << 10,
  encryptedDuplication: 1 << 11,
  restricted: 1 << 16,
  decrypt: 1 << 17,
  sign: 1 << 18,
} as const;

/** Name of an attribute, as Part 2, 8.3 has it. */
export type ObjectAttribute = keyof typeof TPMA_OBJECT;

/** Node's names of the hashes that are strong enough to be believed. SHA-1 is left out on purpose. */
const HASH_NAMES: ReadonlyMap<number, 'sha256' | 'sha384' | 'sha512'> = new Map([
  [TPM_ALG.SHA256, 'sha256'],
  [TPM_ALG.SHA384, 'sha384'],
  [TPM_ALG.SHA512, 'sha512'],
]);

/** Node's name of a TPM hash algorithm, or undefined for one that is unknown or too weak. */
export function hashName(algorithm: number): 'sha256' | 'sha384' | 'sha512' | undefined {
  return HASH_NAMES.get(algorithm);
}

/** 0x0018, for messages. */
export function hex16(value: number): string {
  return `0x${value.toString(16).padStart(4, '0')}`;
}
