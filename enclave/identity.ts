import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { sha256 } from '../attestation/crypto';
import { exportPrivateKey, newKeyPair, P256, randomSerial } from '../runtime/keys/key-pair';
import { dateOf, systemClock } from '../runtime/clock';

/** RFC 5280, 4.1.2.5: no well-defined end. The certificate ends with the process that made it. */
const NEVER = new Date('9999-12-31T23:59:59Z');
const HOUR_MS = 3_600_000;

/** The enclave's TLS identity. It exists in this process's memory only. */
export interface Identity {
  /** PEM. Never leaves the process. */
  privateKey: string;
  certificatePem: string;
  certificate: Buffer;
  certificateSha256: Buffer;
}

/**
 * Makes a P-256 key and a certificate that it signs itself. Nobody vouches for it but the TPM's quote, so its names say nothing about anyone:
 * subject and serial number are random, the alternative name is the same for every enclave.
 */
export async function makeIdentity(trustDomain: string, now = dateOf(systemClock)): Promise<Identity> {
  const keys = await newKeyPair();
  const certificate = await X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: randomSerial(),
      name: [{ CN: [`enclave ${randomBytes(16).toString('hex')}`] }],
      notBefore: new Date(now.getTime() - HOUR_MS),
      notAfter: NEVER,
      keys,
      signingAlgorithm: P256,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
        new SubjectAlternativeNameExtension([{ type: 'dns', value: `enclave.${trustDomain}` }]),
      ],
    },
    webcrypto,
  );
  const der = Buffer.from(certificate.rawData);
  return {
    privateKey: await exportPrivateKey(keys.privateKey),
    certificatePem: PemConverter.encode(certificate.rawData, 'CERTIFICATE'),
    certificate: der,
    certificateSha256: sha256(der),
  };
}
