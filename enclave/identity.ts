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

/** RFC 5280, 4.1.2.5: no well-defined end. The certificate ends with the process that made it. */
const NEVER = new Date('9999-12-31T23:59:59Z');
/** Whose clock is right has passed it: the certificate is the workload's only one, so it must stay good where a clock is put back. */
const LONG_AGO = new Date('2025-01-01T00:00:00Z');

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
export async function makeIdentity(trustDomain: string): Promise<Identity> {
  const keys = await newKeyPair();
  const certificate = await X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: randomSerial(),
      name: [{ CN: [`enclave ${randomBytes(16).toString('hex')}`] }],
      notBefore: LONG_AGO,
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
