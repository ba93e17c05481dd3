import { createPrivateKey, randomBytes, sign, X509Certificate } from 'node:crypto';
import { DER, encodeDer } from '../../attestation/bytes/der';
import type { TestAuthority } from './authority';

/** An extension as it is written: `critical` left out, or there and saying FALSE or TRUE. */
export interface WrittenExtension {
  oid: string;
  critical?: boolean;
  value: Buffer;
}

export interface MakerCertificate {
  publicKey: Buffer;
  /** Content of the INTEGER. */
  serial?: Buffer;
  /** Names in DER. */
  subject?: Buffer;
  issuerName?: Buffer;
  extensions?: WrittenExtension[];
  /** The algorithm inside what is signed, where it isn't that of the signature. */
  innerAlgorithm?: Buffer;
}

const SET = 0x31;
const ECDSA_SHA256 = encodeDer(DER.SEQUENCE, encodeDer(DER.OID, encodeOid('1.2.840.10045.4.3.2')));
export const EMPTY_NAME = encodeDer(DER.SEQUENCE);

export function encodeOid(oid: string): Buffer {
  const [first = 0, second = 0, ...rest] = oid.split('.').map(Number);
  const bytes = (part: number): number[] => {
    const digits = [part & 0x7f];
    for (let left = part >> 7; left > 0; left >>= 7) digits.unshift((left & 0x7f) | 0x80);
    return digits;
  };
  return Buffer.from([first * 40 + second, ...rest].flatMap(bytes));
}

/** Name with one common name. @param tag of its string */
export function encodeName(commonName: string, tag: number = DER.UTF8_STRING): Buffer {
  const type = encodeDer(DER.OID, encodeOid('2.5.4.3'));
  const attribute = encodeDer(DER.SEQUENCE, type, encodeDer(tag, Buffer.from(commonName)));
  return encodeDer(DER.SEQUENCE, encodeDer(SET, attribute));
}

/** basicConstraints with a `cA` that says FALSE, as many endorsement keys' certificates have it. */
export const EXPLICIT_NO_CA: WrittenExtension = {
  oid: '2.5.29.19',
  critical: true,
  value: Buffer.from('3003010100', 'hex'),
};

/** extendedKeyUsage with these purposes. */
export function purposes(...oids: string[]): WrittenExtension {
  const list = oids.map((oid) => encodeDer(DER.OID, encodeOid(oid)));
  return { oid: '2.5.29.37', value: encodeDer(DER.SEQUENCE, ...list) };
}

/** SubjectPublicKeyInfo of an RSA key, as one of type RSAES-OAEP with the parameters that STMicroelectronics writes. */
export function asOaep(spki: Buffer): Buffer {
  const mgf = encodeDer(DER.SEQUENCE, encodeDer(DER.OID, encodeOid('1.2.840.113549.1.1.8')));
  const hash = encodeDer(0xa0, encodeDer(DER.SEQUENCE, encodeDer(DER.OID, encodeOid('2.16.840.1.101.3.4.2.1'))));
  const algorithm = encodeDer(
    DER.SEQUENCE,
    encodeDer(DER.OID, encodeOid('1.2.840.113549.1.1.7')),
    encodeDer(DER.SEQUENCE, hash, encodeDer(0xa1, mgf)),
  );
  // An RSA key's own algorithm takes 15 bytes after the outer length of 4.
  return encodeDer(DER.SEQUENCE, algorithm, spki.subarray(4 + 15));
}

/** Writes a certificate byte by byte, DER or not, and signs it: what no library would write. @returns DER */
export function writeCertificate(issuer: TestAuthority, certificate: MakerCertificate): Buffer {
  const { publicKey, subject = encodeName('leaf'), extensions = [], innerAlgorithm = ECDSA_SHA256 } = certificate;
  const written = extensions.map(({ oid, critical, value }) =>
    encodeDer(
      DER.SEQUENCE,
      encodeDer(DER.OID, encodeOid(oid)),
      critical === undefined ? Buffer.alloc(0) : encodeDer(DER.BOOLEAN, Buffer.from([critical ? 0xff : 0])),
      encodeDer(DER.OCTET_STRING, value),
    ),
  );
  const time = (at: number): Buffer =>
    encodeDer(DER.UTC_TIME, Buffer.from(`${new Date(at).toISOString().replace(/[-:T]/g, '').slice(2, 14)}Z`));
  const day = 86_400_000;
  const tbs = encodeDer(
    DER.SEQUENCE,
    encodeDer(0xa0, encodeDer(DER.INTEGER, Buffer.from([2]))),
    encodeDer(DER.INTEGER, certificate.serial ?? Buffer.concat([Buffer.from([0x40]), randomBytes(15)])),
    innerAlgorithm,
    certificate.issuerName ?? subjectOf(issuer),
    encodeDer(DER.SEQUENCE, time(Date.now() - day), time(Date.now() + day)),
    subject,
    publicKey,
    ...(written.length === 0 ? [] : [encodeDer(0xa3, encodeDer(DER.SEQUENCE, ...written))]),
  );
  const signature = sign('sha256', tbs, createPrivateKey(issuer.privateKey));
  return encodeDer(DER.SEQUENCE, tbs, ECDSA_SHA256, encodeDer(DER.BIT_STRING, Buffer.from([0]), signature));
}

/** The Name in an authority's certificate, which has one common name, in whichever type of string its library chose. */
function subjectOf({ certificate }: TestAuthority): Buffer {
  const parsed = new X509Certificate(certificate);
  const name = parsed.subject.replace(/^CN=/, '');
  const candidates = [DER.UTF8_STRING, 0x13].map((tag) => encodeName(name, tag));
  return candidates.find((candidate) => parsed.raw.includes(candidate)) ?? EMPTY_NAME;
}
