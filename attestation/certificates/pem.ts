const CERTIFICATE = /-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/g;
const PRIVATE_KEY = /-----BEGIN (?:EC )?PRIVATE KEY-----[^-]+-----END (?:EC )?PRIVATE KEY-----/g;
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;

/** Every certificate of a PEM text, each as a text of its own. */
export function splitCertificates(pem: string): string[] {
  return (pem.match(CERTIFICATE) ?? []).map((block) => `${block}\n`);
}

/** Every private key of a PEM text, each as a text of its own. Secrets. */
export function splitPrivateKeys(pem: string): string[] {
  return (pem.match(PRIVATE_KEY) ?? []).map((block) => `${block}\n`);
}

/** DER of the first certificate in a PEM text (RFC 7468, 5). @throws TypeError where there is none */
export function certificateDer(pem: string): Buffer {
  const base64 = [...pem.matchAll(CERTIFICATE)][0]?.[1]?.replace(/\s+/g, '') ?? '';
  if (!BASE64.test(base64)) throw new TypeError('expected a certificate in PEM, got something else');
  return Buffer.from(base64, 'base64');
}

/** The PEM text of a certificate (RFC 7468, 5). */
export function certificatePem(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}
