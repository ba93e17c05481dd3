import { DER, decodeOid, DerReader, encodeDer } from '../bytes/der';
import { BytesError } from '../bytes/reader';
import { CertificateName } from './name';

/**
 * How closely a certificate has to follow the rules. `strict` is DER and RFC 5280: what this project issues. `maker` is for chains that end in a
 * pinned root of a TPM maker, and takes what makers did and can't take back:
 * - a `critical` or `cA` that says FALSE, which DER leaves out (Intel);
 * - an NVRAM index that is longer than the certificate in it, filled up behind with 00 or FF;
 * - a key of type RSAES-OAEP (RFC 4055, 4.1), which says the truth about an endorsement key and which few libraries read
 *   (STMicroelectronics, Nuvoton, Infineon);
 * - a serial number that is negative, zero or of more than 20 bytes;
 * - an empty subject whose alternative name isn't critical.
 */
export type CertificateForm = 'strict' | 'maker';

/** What a verifier needs of a certificate (RFC 5280, 4.1 and 4.2). Slices share memory with the input. */
export interface CertificateFields {
  /** The certificate without what may stand behind it. */
  der: Buffer;
  /** What the signature covers, as it stands: it is never encoded again. */
  tbs: Buffer;
  /** OID of the signature's algorithm. */
  signatureAlgorithm: string;
  signature: Buffer;
  /** Names in DER. */
  issuer: CertificateName;
  subject: CertificateName;
  notBefore: Date;
  notAfter: Date;
  /** SubjectPublicKeyInfo; an RSAES-OAEP key is written as rsaEncryption here. */
  spki: Buffer;
  /** The key is only for encryption (RSAES-OAEP). */
  encryptsOnly: boolean;
  /** By OID. */
  extensions: ReadonlyMap<string, { critical: boolean; value: Buffer }>;
  basicConstraints: { ca: boolean; pathLength: number | undefined } | undefined;
  /** Bit 0 is digitalSignature, bit 5 keyCertSign: the first bit is the lowest here. */
  keyUsage: number | undefined;
  /** OIDs. */
  extendedKeyUsage: string[];
  /** GeneralNames with their context tags: 6 is a URI (4.2.1.6). */
  subjectAlternativeNames: { tag: number; value: Buffer }[];
  subjectKeyId: Buffer | undefined;
  authorityKeyId: Buffer | undefined;
}

/** Extensions that are understood here, as OIDs (RFC 5280, 4.2.1). */
export const EXTENSION = {
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAlternativeName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  /** Nobody here asks for a policy, so every one will do (RFC 5280, 6.1.1: any-policy, not explicit). Some makers mark it critical. */
  certificatePolicies: '2.5.29.32',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
} as const;

/** Bits of `CertificateFields.keyUsage` (RFC 5280, 4.2.1.3). */
export const KEY_USAGE = { digitalSignature: 1 << 0, keyCertSign: 1 << 5 } as const;

/** GeneralName uniformResourceIdentifier. */
export const URI_TAG = 6;

const VERSION = 0xa0;
const ISSUER_UNIQUE_ID = 0x81;
const SUBJECT_UNIQUE_ID = 0x82;
const EXTENSIONS = 0xa3;
const CONTEXT_TAG = 0x80;
const EMPTY_NAME_BYTES = 2;
/** 4.1.2.2. Makers' longer ones are bounded too. */
const MAX_SERIAL_BYTES = { strict: 20, maker: 64 } as const;

/** @throws BytesError unless the bytes are one certificate in this form, each extension in it once. */
export function readCertificateFields(bytes: Uint8Array, form: CertificateForm = 'strict'): CertificateFields {
  const outer = new DerReader(bytes, 'certificate');
  const der = outer.whole(DER.SEQUENCE);
  if (form === 'maker') skipPadding(outer.rest());
  outer.end();
  const certificate = new DerReader(der, 'certificate').inside(DER.SEQUENCE);
  const tbs = certificate.whole(DER.SEQUENCE);
  const algorithm = certificate.whole(DER.SEQUENCE);
  const signature = readBits(certificate);
  certificate.end();

  const reader = new DerReader(tbs, 'certificate').inside(DER.SEQUENCE);
  reader.optional(VERSION);
  checkSerial(reader.expect(DER.INTEGER), form);
  // The copy that is signed (4.1.1.2): otherwise one would be checked and the other one meant.
  if (!reader.whole(DER.SEQUENCE).equals(algorithm)) throw malformed('one algorithm of its signature', 'two');
  const issuer = reader.whole(DER.SEQUENCE);
  const validity = reader.inside(DER.SEQUENCE);
  const [notBefore, notAfter] = [readTime(validity), readTime(validity)];
  validity.end();
  const subject = reader.whole(DER.SEQUENCE);
  const key = readKey(reader.whole(DER.SEQUENCE), form);
  reader.optional(ISSUER_UNIQUE_ID);
  reader.optional(SUBJECT_UNIQUE_ID);
  const extensions = readExtensions(reader.optional(EXTENSIONS), form);
  reader.end();

  const names = extensions.get(EXTENSION.subjectAlternativeName);
  if (subject.length === EMPTY_NAME_BYTES && !(names && (names.critical || form === 'maker')))
    throw malformed('a critical alternative name where there is no subject (4.1.2.6)', 'none');
  const parse = <T>(oid: string, read: (value: Buffer) => T): T | undefined => {
    const extension = extensions.get(oid);
    return extension === undefined ? undefined : read(extension.value);
  };
  return {
    der,
    tbs,
    signatureAlgorithm: decodeOid(new DerReader(algorithm, 'certificate').inside(DER.SEQUENCE).expect(DER.OID)),
    signature,
    issuer: new CertificateName(issuer),
    subject: new CertificateName(subject),
    notBefore,
    notAfter,
    ...key,
    extensions,
    basicConstraints: parse(EXTENSION.basicConstraints, (value) => readBasicConstraints(value, form)),
    keyUsage: parse(EXTENSION.keyUsage, readKeyUsage),
    extendedKeyUsage:
      parse(EXTENSION.extendedKeyUsage, (value) => [...sequence(value).all(DER.OID)].map(decodeOid)) ?? [],
    subjectAlternativeNames: parse(EXTENSION.subjectAlternativeName, readNames) ?? [],
    subjectKeyId: parse(EXTENSION.subjectKeyIdentifier, readOctets),
    authorityKeyId: parse(EXTENSION.authorityKeyIdentifier, (value) => sequence(value).optional(CONTEXT_TAG)),
  };
}

function malformed(expected: string, got: string): BytesError {
  return new BytesError('bytes.malformed', `certificate: expected ${expected}, got ${got}`);
}

/** What fills an index of NVRAM: erased bytes, 00 or FF. */
function skipPadding(rest: Buffer): void {
  const [first = 0] = rest;
  if ((first !== 0 && first !== 0xff) || rest.some((byte) => byte !== first))
    throw new BytesError('bytes.trailing', 'certificate: expected its end or padding, got more bytes');
}

function checkSerial(serial: Buffer, form: CertificateForm): void {
  if (serial.length === 0 || serial.length > MAX_SERIAL_BYTES[form])
    throw malformed(`a serial number of 1 to ${MAX_SERIAL_BYTES[form]} bytes`, String(serial.length));
  if (form === 'maker') return;
  const [first = 0, second = 0] = serial;
  const shortest = serial.length === 1 ? first > 0 : first > 0 || second >= 0x80;
  if (first >= 0x80 || !shortest) throw malformed('a positive serial number in its shortest form', 'another one');
}

/** A BIT STRING of whole bytes. */
function readBits(reader: DerReader): Buffer {
  const bits = reader.expect(DER.BIT_STRING);
  if (bits.length < 2 || bits[0] !== 0) throw malformed('a bit string of whole bytes', 'another one');
  return bits.subarray(1);
}

const RSAES_OAEP = '1.2.840.113549.1.1.7';
/** AlgorithmIdentifier of rsaEncryption with NULL as parameters (RFC 8017, A.1). */
const RSA_ENCRYPTION = Buffer.from('300d06092a864886f70d0101010500', 'hex');

/** Both types of RSA key hold the same RSAPublicKey (RFC 4055, 4). */
function readKey(spki: Buffer, form: CertificateForm): { spki: Buffer; encryptsOnly: boolean } {
  if (form === 'strict') return { spki, encryptsOnly: false };
  const reader = new DerReader(spki, 'public key').inside(DER.SEQUENCE);
  if (decodeOid(reader.inside(DER.SEQUENCE).expect(DER.OID)) !== RSAES_OAEP) return { spki, encryptsOnly: false };
  const key = reader.whole(DER.BIT_STRING);
  reader.end();
  return { spki: encodeDer(DER.SEQUENCE, RSA_ENCRYPTION, key), encryptsOnly: true };
}

function readExtensions(bytes: Buffer | undefined, form: CertificateForm): CertificateFields['extensions'] {
  const extensions = new Map<string, { critical: boolean; value: Buffer }>();
  if (bytes === undefined) return extensions;
  for (const item of sequence(bytes).all(DER.SEQUENCE)) {
    const reader = new DerReader(item, 'extension');
    const oid = decodeOid(reader.expect(DER.OID));
    const critical = reader.flag({ explicitFalse: form === 'maker' });
    const value = reader.expect(DER.OCTET_STRING);
    reader.end();
    if (extensions.has(oid))
      throw new BytesError('bytes.malformed', `certificate: expected extension ${oid} once, got it twice`);
    extensions.set(oid, { critical, value });
  }
  return extensions;
}

function readBasicConstraints(value: Buffer, form: CertificateForm): { ca: boolean; pathLength: number | undefined } {
  const reader = sequence(value);
  const ca = reader.flag({ explicitFalse: form === 'maker' });
  const pathLength = reader.optional(DER.INTEGER);
  reader.end();
  // A length that doesn't fit in a byte limits nothing here: chains are shorter by far. A negative one allows nothing.
  return {
    ca,
    pathLength:
      pathLength === undefined
        ? undefined
        : pathLength.length > 1
          ? 255
          : (pathLength[0] ?? 0) & 0x80
            ? -1
            : pathLength[0],
  };
}

function readKeyUsage(value: Buffer): number {
  const reader = new DerReader(value, 'key usage');
  const bits = reader.expect(DER.BIT_STRING);
  reader.end();
  let usage = 0;
  for (let bit = 0; bit < (bits.length - 1) * 8; bit++) {
    if (((bits[1 + (bit >> 3)] ?? 0) >> (7 - (bit & 7))) & 1) usage |= 1 << bit;
  }
  return usage;
}

function readOctets(value: Buffer): Buffer {
  const reader = new DerReader(value, 'key identifier');
  const octets = reader.expect(DER.OCTET_STRING);
  reader.end();
  return octets;
}

function readNames(value: Buffer): { tag: number; value: Buffer }[] {
  const reader = sequence(value);
  const names: { tag: number; value: Buffer }[] = [];
  while (!reader.done) {
    const { tag, content } = reader.next();
    names.push({ tag: tag & ~(CONTEXT_TAG | 0x20), value: content });
  }
  return names;
}

/** UTCTime or GeneralizedTime, in the forms of RFC 5280, 4.1.2.5. */
function readTime(reader: DerReader): Date {
  const { tag, content } = reader.next();
  const text = content.toString('latin1');
  const match = (tag === DER.UTC_TIME ? UTC_TIME : tag === DER.GENERALIZED_TIME ? GENERALIZED_TIME : undefined)?.exec(
    text,
  );
  if (!match)
    throw new BytesError('bytes.malformed', 'certificate: expected a time in UTC with seconds, got something else');
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1).map(Number);
  const century = tag === DER.UTC_TIME ? (year < 50 ? 2000 : 1900) : 0;
  return new Date(Date.UTC(century + year, month - 1, day, hour, minute, second));
}

const UTC_TIME = /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/;
const GENERALIZED_TIME = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/;

function sequence(value: Buffer): DerReader {
  const outer = new DerReader(value, 'extension');
  const inner = outer.inside(DER.SEQUENCE);
  outer.end();
  return inner;
}
