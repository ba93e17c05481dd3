import { isIP } from 'node:net';
import * as x509 from '@peculiar/x509';
import { openAuthority, signEndEntity } from './authority';
import { exportPrivateKey, newKeyPair } from '../../runtime/keys/key-pair';
import type { CertifiedKey } from '../../runtime/keys/key-pair';
import { dateOf, systemClock } from '../../runtime/clock';

/** id-kp-serverAuth (RFC 5280, 4.2.1.12). */
const SERVER_AUTH = x509.ExtendedKeyUsage.serverAuth;

interface ServerCertificateOptions {
  /** DNS names and IP addresses under which the server is reached; at least one. */
  hosts: readonly string[];
  /** 397 unless told. Never past the authority's own end. */
  days?: number;
  now?: Date;
}

/** Makes a TLS server's P-256 key and its certificate. */
export async function issueServerCertificate(
  authority: CertifiedKey,
  { hosts, days = 397, now = dateOf(systemClock) }: ServerCertificateOptions,
): Promise<CertifiedKey> {
  if (hosts.length === 0) throw new TypeError('expected at least one host');
  const keys = await newKeyPair();
  const certificate = await signEndEntity(await openAuthority(authority), {
    publicKey: keys.publicKey,
    name: [{ CN: [hosts[0]!.slice(0, 64)] }],
    alternativeNames: hosts.map((host) => ({ type: isIP(host) ? ('ip' as const) : ('dns' as const), value: host })),
    extendedKeyUsage: [SERVER_AUTH],
    seconds: days * 86_400,
    now,
  });
  return { certificate: certificate.toString('pem'), privateKey: await exportPrivateKey(keys.privateKey) };
}
