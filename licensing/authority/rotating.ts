import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { splitCertificates, splitPrivateKeys } from '../../attestation/certificates/pem';
import type { CertifiedKey } from '../../runtime/keys/key-pair';
import { CLOCK_SKEW_SECONDS } from './authority';
import { dateOf, systemClock } from '../../runtime/clock';

/** An authority of a file that holds one or more, the newest first. */
interface RotatingAuthority {
  /** PEM, one certificate. */
  certificate: string;
  /** PEM; undefined where the file with the keys has none for it. A secret. */
  privateKey: string | undefined;
  /** When it may begin to sign: its certificate begins CLOCK_SKEW_SECONDS before, so that by then every verifier's clock has reached it. */
  signsFrom: Date;
}

/**
 * Reads the authorities of a certificate file and a key file. While an authority is rotated, they hold the new one and the old one:
 * verifiers take every authority of the file, and `signingAuthority` says which of them signs.
 * @param certificates PEM, one or more CA certificates
 * @param privateKeys PEM, in any order
 * @throws TypeError when something in them is neither
 */
export function readAuthorities(certificates: string, privateKeys: string): RotatingAuthority[] {
  const keys = splitPrivateKeys(privateKeys).map((pem) => ({ pem, key: readKey(pem) }));
  return splitCertificates(certificates)
    .map((certificate) => {
      const parsed = readCertificate(certificate);
      const signsFrom = new Date(Date.parse(parsed.validFrom) + CLOCK_SKEW_SECONDS * 1000);
      return { certificate, privateKey: keys.find(({ key }) => parsed.checkPrivateKey(key))?.pem, signsFrom };
    })
    .sort((a, b) => b.signsFrom.getTime() - a.signsFrom.getTime());
}

/**
 * The authority that signs at `now`: the newest whose time has come.
 * @throws TypeError when there is none, or its key is not there
 */
export function signingAuthority(authorities: readonly RotatingAuthority[], now = dateOf(systemClock)): CertifiedKey {
  const newest = authorities.find(({ signsFrom }) => signsFrom <= now);
  const [latest] = authorities;
  if (!newest)
    throw new TypeError(
      latest
        ? `expected a CA certificate whose time has come at ${now.toISOString()}, got one that begins ${latest.signsFrom.toISOString()}: is this machine's clock right?`
        : 'expected a CA certificate whose time has come, got none',
    );
  const { certificate, privateKey } = newest;
  if (privateKey === undefined)
    throw new TypeError('expected the private key of the CA certificate that signs now, got others');
  return { certificate, privateKey };
}

function readCertificate(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw new TypeError('expected CA certificates in PEM');
  }
}

function readKey(pem: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    throw new TypeError('expected private keys in PEM');
  }
}
