import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { inThreadCrypto } from './in-thread-crypto';
import { exportPrivateKey, newKeyPair, P256, randomSerial } from '../../runtime/keys/key-pair';
import type { CertifiedKey } from '../../runtime/keys/key-pair';
import { dateOf, systemClock } from '../../runtime/clock';

/** Certificates begin this long before now: the clocks of two machines differ. */
export const CLOCK_SKEW_SECONDS = 300;

const DAY_SECONDS = 86_400;

interface AuthorityOptions {
  commonName: string;
  /** DNS-like name; stands in the subject's organization. */
  trustDomain: string;
  years: number;
  /** Left out: the first authority of an installation, see FIRST_BEGIN. Otherwise one that takes another's place, and begins now. */
  now?: Date;
}

/**
 * When an installation's first authorities begin: before any time that a clock which is right has shown since there are installations. Of two authorities the
 * later one signs, and of one alone the beginning decides nothing. So a first start with a clock that is ahead, or years behind, is mended by putting that right.
 */
const FIRST_BEGIN = new Date('2025-01-01T00:00:00Z');

/** When a certificate made now is good, from a little before now. */
function validity(now: Date, seconds: number): { notBefore: Date; notAfter: Date } {
  return {
    notBefore: new Date(now.getTime() - CLOCK_SKEW_SECONDS * 1000),
    notAfter: new Date(now.getTime() + seconds * 1000),
  };
}

/** Makes a root CA that signs end-entity certificates directly (path length 0): P-256, its own key, self-signed. */
export async function createAuthority({
  commonName,
  trustDomain,
  years,
  now,
}: AuthorityOptions): Promise<CertifiedKey> {
  const keys = await newKeyPair();
  const life = years * 365 * DAY_SECONDS;
  const today = dateOf(systemClock);
  const first = {
    notBefore: FIRST_BEGIN,
    notAfter: validity(today > FIRST_BEGIN ? today : FIRST_BEGIN, life).notAfter,
  };
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: randomSerial(),
    name: [{ O: [trustDomain] }, { CN: [commonName] }],
    ...(now ? validity(now, life) : first),
    keys,
    signingAlgorithm: P256,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: certificate.toString('pem'), privateKey: await exportPrivateKey(keys.privateKey) };
}

/** An authority ready to sign: parsed once, used for many certificates. */
export interface Signer {
  certificate: x509.X509Certificate;
  key: webcrypto.CryptoKey;
  /** What every certificate of its own says: the same extensions, made once. */
  extensions: x509.Extension[];
}

/**
 * Reads an authority's PEM texts.
 * @throws TypeError when they aren't a P-256 CA certificate and the private key that belongs to it
 */
export async function openAuthority({ certificate, privateKey }: CertifiedKey): Promise<Signer> {
  let parsed: x509.X509Certificate;
  let key: webcrypto.CryptoKey;
  try {
    parsed = new x509.X509Certificate(certificate);
    const pkcs8 = x509.PemConverter.decodeFirst(privateKey);
    key = await webcrypto.subtle.importKey('pkcs8', pkcs8, P256, false, ['sign']);
  } catch (cause) {
    throw new TypeError('expected a CA certificate and a P-256 private key, both PEM (PKCS#8 for the key)', { cause });
  }
  if (parsed.getExtension(x509.BasicConstraintsExtension)?.ca !== true)
    throw new TypeError('expected a CA certificate, got one that is not');
  const probe = randomBytes(32);
  const signature = await webcrypto.subtle.sign(P256, key, probe);
  const publicKey = await parsed.publicKey.export(P256, ['verify']).catch(() => undefined);
  if (!publicKey || !(await webcrypto.subtle.verify(P256, publicKey, signature, probe))) {
    throw new TypeError('expected the private key of the CA certificate, got another one');
  }
  const extensions = [
    new x509.BasicConstraintsExtension(false, undefined, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
    await x509.AuthorityKeyIdentifierExtension.create(parsed),
  ];
  return { certificate: parsed, key, extensions };
}

interface EndEntity {
  publicKey: x509.PublicKeyType;
  /** Name as RDNs; empty where the SAN says all (then the SAN is critical: RFC 5280, 4.2.1.6). */
  name: x509.JsonName;
  alternativeNames: x509.JsonGeneralNames;
  extendedKeyUsage: string[];
  seconds: number;
  now: Date;
}

/** Signs an end-entity certificate: digitalSignature only, never a CA. */
export async function signEndEntity(signer: Signer, subject: EndEntity): Promise<x509.X509Certificate> {
  const span = validity(subject.now, subject.seconds);
  if (span.notAfter > signer.certificate.notAfter) span.notAfter = signer.certificate.notAfter;
  const publicKey = await x509.PublicKey.create(subject.publicKey);
  return x509.X509CertificateGenerator.create(
    {
      serialNumber: randomSerial(),
      subject: subject.name,
      issuer: signer.certificate.subjectName,
      ...span,
      publicKey,
      signingKey: signer.key,
      signingAlgorithm: P256,
      extensions: [
        ...signer.extensions,
        new x509.ExtendedKeyUsageExtension(subject.extendedKeyUsage),
        new x509.SubjectAlternativeNameExtension(subject.alternativeNames, subject.name.length === 0),
        await x509.SubjectKeyIdentifierExtension.create(publicKey, false, inThreadCrypto),
      ],
    },
    inThreadCrypto,
  );
}
