import { ADMIN_NAME, CLIENT_AUTH } from '../../attestation/certificates/admin';
import { exportPrivateKey, newKeyPair } from '../../runtime/keys/key-pair';
import type { CertifiedKey } from '../../runtime/keys/key-pair';
import { openAuthority, signEndEntity } from './authority';
import { dateOf, systemClock } from '../../runtime/clock';

export interface AdminCertificateOptions {
  /** Stands in the audit records. */
  name: string;
  trustDomain: string;
  /** 90 unless told. */
  days?: number;
  now?: Date;
}

/** Makes an administrator's P-256 key and certificate: SAN URI spiffe://TD/admin/NAME, purpose clientAuth. */
export async function issueAdminCertificate(
  authority: CertifiedKey,
  options: AdminCertificateOptions,
): Promise<CertifiedKey> {
  const { name, trustDomain, days = 90, now = dateOf(systemClock) } = options;
  if (!ADMIN_NAME.test(name))
    throw new TypeError(
      `expected an administrator's name of a-z, 0-9, dot, dash and underscore, got ${JSON.stringify(name)}`,
    );
  const keys = await newKeyPair();
  const certificate = await signEndEntity(await openAuthority(authority), {
    publicKey: keys.publicKey,
    name: [],
    alternativeNames: [{ type: 'url', value: `spiffe://${trustDomain}/admin/${name}` }],
    extendedKeyUsage: [CLIENT_AUTH],
    seconds: days * 86_400,
    now,
  });
  return { certificate: certificate.toString('pem'), privateKey: await exportPrivateKey(keys.privateKey) };
}
