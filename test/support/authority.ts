import 'reflect-metadata';
import { generateKeyPairSync, randomBytes, webcrypto } from 'node:crypto';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import type { Extension } from '@peculiar/x509';

/** A certificate authority of a test's own: PEM both. */
export interface TestAuthority {
  certificate: string;
  privateKey: string;
}

export interface AuthorityOptions {
  issuer?: TestAuthority & { name: string };
  notBefore?: Date;
  notAfter?: Date;
  ca?: boolean;
  pathLength?: number;
  usages?: number;
  extensions?: Extension[];
  namedCurve?: string;
}

/** Makes an authority, signed by `issuer` or by itself. Each option can make it one that has to be refused. */
export async function makeAuthority(
  name: string,
  options: AuthorityOptions = {},
): Promise<TestAuthority & { name: string }> {
  const algorithm = { name: 'ECDSA', namedCurve: options.namedCurve ?? 'P-256', hash: 'SHA-256' };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const signingKey = options.issuer === undefined ? keys.privateKey : await importKey(options.issuer.privateKey);
  const certificate = await X509CertificateGenerator.create(
    {
      serialNumber: `40${randomBytes(15).toString('hex')}`,
      subject: `CN=${name}`,
      issuer: `CN=${options.issuer?.name ?? name}`,
      notBefore: options.notBefore ?? new Date(Date.now() - 86_400_000),
      notAfter: options.notAfter ?? new Date(Date.now() + 365 * 86_400_000),
      publicKey: keys.publicKey,
      signingKey,
      signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
      extensions: [
        new BasicConstraintsExtension(options.ca ?? true, options.pathLength, true),
        new KeyUsagesExtension(options.usages ?? KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        ...(options.extensions ?? []),
      ],
    },
    webcrypto,
  );
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  return { name, certificate: certificate.toString('pem'), privateKey: pem('PRIVATE KEY', pkcs8) };
}

export interface LeafOptions {
  publicKey?: Buffer;
  ca?: boolean;
  /** Extended key usages. */
  usages?: string[];
  keyUsages?: number;
  extensions?: Extension[];
  notBefore?: Date;
  notAfter?: Date;
  hash?: string;
}

/** Makes a certificate, DER: by default one that an attestation key's verifier takes, but for its names. */
export async function makeLeaf(issuer: TestAuthority & { name: string }, options: LeafOptions = {}): Promise<Buffer> {
  const publicKey =
    options.publicKey ??
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'der', type: 'spki' });
  const certificate = await X509CertificateGenerator.create(
    {
      serialNumber: `40${randomBytes(15).toString('hex')}`,
      subject: 'CN=leaf',
      issuer: `CN=${issuer.name}`,
      notBefore: options.notBefore ?? new Date(Date.now() - 86_400_000),
      notAfter: options.notAfter ?? new Date(Date.now() + 86_400_000),
      publicKey: new Uint8Array(publicKey),
      signingKey: await importKey(issuer.privateKey),
      signingAlgorithm: { name: 'ECDSA', hash: options.hash ?? 'SHA-256' },
      extensions: [
        new BasicConstraintsExtension(options.ca ?? false, undefined, true),
        new KeyUsagesExtension(options.keyUsages ?? KeyUsageFlags.digitalSignature, true),
        ...(options.usages?.length === 0 ? [] : [new ExtendedKeyUsageExtension(options.usages ?? ['2.23.133.8.3'])]),
        ...(options.extensions ?? []),
      ],
    },
    webcrypto,
  );
  return Buffer.from(certificate.rawData);
}

async function importKey(privateKey: string): Promise<webcrypto.CryptoKey> {
  const der = Buffer.from(privateKey.replace(/-----[A-Z ]+-----|\s/g, ''), 'base64');
  return await webcrypto.subtle.importKey('pkcs8', der, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign']);
}

function pem(label: string, der: Buffer): string {
  return `-----BEGIN ${label}-----\n${der.toString('base64').replace(/(.{64})(?=.)/g, '$1\n')}\n-----END ${label}-----\n`;
}
