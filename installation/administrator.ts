import { splitCertificates, splitPrivateKeys } from '../attestation/certificates/pem';
import { issueAdminCertificate } from '../licensing/authority/admin';
import type { AdminCertificateOptions } from '../licensing/authority/admin';
import type { CertifiedKey } from '../runtime/keys/key-pair';
import { KeyStoreError, readRequiredKey } from './store';
import type { KeyStore } from './store';

/** Makes an administrator's key and certificate by the newest admin CA of a key store. @throws KeyStoreError */
export async function createAdministrator(store: KeyStore, options: AdminCertificateOptions): Promise<CertifiedKey> {
  const [certificate] = splitCertificates(await readRequiredKey(store, 'admin-ca.crt'));
  const [privateKey] = splitPrivateKeys(await readRequiredKey(store, 'admin-ca.key'));
  if (certificate === undefined || privateKey === undefined) {
    throw new KeyStoreError(
      'keystore.malformed',
      'expected the admin CA in admin-ca.crt and admin-ca.key, PEM, got something else',
    );
  }
  return issueAdminCertificate({ certificate, privateKey }, options);
}
