import { Purpose } from '../../proto/gen/licensing/v1/evidence';
import type { ClockInfo } from '../tpm/quote';

/** Who asked, and for whose enclave: what every live verification compares. */
interface Asked {
  /** SHA-256 of the client's SubjectPublicKeyInfo, 32 bytes. */
  clientKeySha256: Buffer;
  /** Opaque id of the account. */
  user: string;
}

/** A login: evidence about a certificate, for the nonce and key of who logs in. */
export interface CertificateExpected extends Asked {
  situation: 'certificate';
  /** 32 bytes, the caller's own. */
  nonce: Buffer;
  /** Name of the enclave among its user's. */
  enclave: string;
  /** Where the enclave is said to be; undefined where nobody but the evidence says. */
  workloadUid: string | undefined;
  node: string | undefined;
}

/** A connection: evidence about this very TLS session, with the enclave whose certificate evidence was verified before. */
export interface SessionExpected extends Asked {
  situation: 'session';
  /** 32 bytes, the caller's own. */
  nonce: Buffer;
  /** 32 bytes, computed by the caller from its own end of the session (RFC 9266). */
  tlsExporter: Buffer;
  /** SHA-256 of the certificate (DER) at the other end. */
  certificateSha256: Buffer;
  enclave: string;
  workloadUid: string;
  node: string;
  /** `sha256:` and 64 hexadecimal digits. */
  imageDigest: string;
  /** Clock of the earlier quote. */
  previousClock: ClockInfo;
}

/**
 * A seat: evidence of a session that is somebody else's, shown by the client that the session is with. Which session it is, the verified claims say:
 * who verifies is no end of it and has no exporter of its own to compare.
 */
export interface SeatExpected extends Asked {
  situation: 'seat';
}

/** A file of evidence, of either purpose, looked at for what it proves. Nothing of it is taken for the caller's own. */
interface ArchivedExpected {
  situation: 'archived';
}

/** What the verifier knows from elsewhere, by the situation that it is in: each names all that can be compared there. */
export type Expected = CertificateExpected | SessionExpected | SeatExpected | ArchivedExpected;

/** The purpose that evidence has to have; undefined: either. */
export function expectedPurpose({ situation }: Expected): Purpose | undefined {
  switch (situation) {
    case 'certificate':
      return Purpose.PURPOSE_CERTIFICATE;
    case 'session':
    case 'seat':
      return Purpose.PURPOSE_SESSION;
    case 'archived':
      return undefined;
  }
}
