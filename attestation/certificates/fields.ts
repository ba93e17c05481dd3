import { DER, decodeOid, DerReader } from '../bytes/der';
import { BytesError } from '../bytes/reader';

/** What a verifier needs of a certificate and node:crypto doesn't tell (RFC 5280, 4.1 and 4.2). */
export interface CertificateFields {
  /** OID of the signature's algorithm. */
  signatureAlgorithm: string;
  notBefore: Date;
  notAfter: Date;
  /** By OID. */
  extensions: ReadonlyMap<string, { critical: boolean; value: Buffer }>;
  basicConstraints: { ca: boolean; pathLength: number | undefined } | undefined;
  /** Bit 0 is digitalSignature, bit 5 keyCertSign: the first bit is the lowest here. */
  keyUsage: number | undefined;
  /** OIDs. */
  extendedKeyUsage: string[];
  /** GeneralNames with their context tags: 6 is a URI (4.2.1.6). */
  subjectAlternativeNames: { tag: number; value: Buffer }[];
}

export const EXTENSION = {
  keyUsage: '2.5.29.15',
  subjectAlternativeName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  /** Nobody here asks for a policy, so every one will do (RFC 5280, 6.1.1: any-policy, not explicit). Some makers mark it critical. */
  certificatePolicies: '2.5.29.32',
  extendedKeyUsage: '2.5.29.37',
} as const;

export const KEY_USAGE = { digitalSignature: 1 << 0, keyCertSign: 1 << 5 } as const;

const VERSION = 0xa0;
const ISSUER_UNIQUE_ID = 0x81;
const SUBJECT_UNIQUE_ID = 0x82;
const EXTENSIONS = 0xa3;
const CONTEXT_TAG = 0x80;

/** @throws BytesError unless the bytes are one certificate in DER, each extension in it once. */
export function readCertificateFields(der: Uint8Array): CertificateFields {
  const outer = new DerReader(der, 'certificate');
  const certificate = outer.inside(DER.SEQUENCE);
  outer.end();
  const tbs = certificate.inside(DER.SEQUENCE);
  const signatureAlgorithm = decodeOid(certificate.inside(DER.SEQUENCE).expect(DER.OID));
  certificate.expect(DER.BIT_STRING);
  certificate.end();

  tbs.optional(VERSION);
  tbs.expect(DER.INTEGER);
  tbs.expect(DER.SEQUENCE);
  tbs.expect(DER.SEQUENCE);
  const validity = tbs.inside(DER.SEQUENCE);
  const [notBefore, notAfter] = [readTime(validity), readTime(validity)];
  validity.end();
  tbs.expect(DER.SEQUENCE);
  tbs.expect(DER.SEQUENCE);
  tbs.optional(ISSUER_UNIQUE_ID);
  tbs.optional(SUBJECT_UNIQUE_ID);
  const extensions = readExtensions(tbs.optional(EXTENSIONS));
  tbs.end();

  const parse = <T>(oid: string, read: (value: Buffer) => T): T | undefined => {
    const extension = extensions.get(oid);
    return extension === undefined ? undefined : read(extension.value);
  };
  return {
    signatureAlgorithm,
    notBefore,
    notAfter,
    extensions,
    basicConstraints: parse(EXTENSION.basicConstraints, readBasicConstraints),
    keyUsage: parse(EXTENSION.keyUsage, readKeyUsage),
    extendedKeyUsage:
      parse(EXTENSION.extendedKeyUsage, (value) => [...sequence(value).all(DER.OID)].map(decodeOid)) ?? [],
    subjectAlternativeNames: parse(EXTENSION.subjectAlternativeName, readNames) ?? [],
  };
}

function readExtensions(bytes: Buffer | undefined): CertificateFields['extensions'] {
  const extensions = new Map<string, { critical: boolean; value: Buffer }>();
  if (bytes === undefined) return extensions;
  for (const item of sequence(bytes).all(DER.SEQUENCE)) {
    const reader = new DerReader(item, 'extension');
    const oid = decodeOid(reader.expect(DER.OID));
    const critical = reader.flag();
    const value = reader.expect(DER.OCTET_STRING);
    reader.end();
    if (extensions.has(oid))
      throw new BytesError('bytes.malformed', `certificate: expected extension ${oid} once, got it twice`);
    extensions.set(oid, { critical, value });
  }
  return extensions;
}

function readBasicConstraints(value: Buffer): { ca: boolean; pathLength: number | undefined } {
  const reader = sequence(value);
  const ca = reader.flag();
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
