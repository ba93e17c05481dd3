const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
const PRIVATE_KEY = /-----BEGIN (?:EC )?PRIVATE KEY-----[^-]+-----END (?:EC )?PRIVATE KEY-----/g;

/** Every certificate of a PEM text, each as a text of its own. */
export function splitCertificates(pem: string): string[] {
  return (pem.match(CERTIFICATE) ?? []).map((block) => `${block}\n`);
}

/** Every private key of a PEM text, each as a text of its own. Secrets. */
export function splitPrivateKeys(pem: string): string[] {
  return (pem.match(PRIVATE_KEY) ?? []).map((block) => `${block}\n`);
}
