import { z } from 'zod';
import { MAX_ATTESTATION_KEY_CERTIFICATE_DAYS } from '../../licensing/authority/attestation-key';
import { listenSettings, proxiesSetting } from '../../runtime/config/listen';

export const enrolSettings = z.object({
  ...listenSettings,
  TRUSTED_PROXIES: proxiesSetting,
  DATABASE_URL_FILE: z.string(),
  DATABASE_POOL: z.coerce.number().int().min(1).max(100).default(2),
  /** The authority that certifies attestation keys, PEM. While it is rotated, the files hold the new one and the old one. */
  ATTESTATION_CA_KEY_FILE: z.string(),
  ATTESTATION_CA_CERTIFICATE_FILE: z.string(),
  /** Certificates of TPM makers' roots that the operator adds, PEM: *.pem, *.crt. */
  EK_ROOTS_DIR: z.string().optional(),
  /** `off`: the makers' roots that ship with the project are not trusted. */
  EK_ROOTS_SHIPPED: z.enum(['on', 'off']).default('on'),
  /** For TPMs without a certificate: SHA-256 of the EK's TPMT_PUBLIC in hex, one a line, with ` software` after it for a software TPM. # begins a comment. */
  EK_HASHES_FILE: z.string().optional(),
  /** 32 bytes: seals challenges. All replicas have the same. */
  SEAL_KEY_FILE: z.string(),
  TRUST_DOMAIN: z.string(),
  /** Life of an attestation key's certificate. */
  CERTIFICATE_DAYS: z.coerce.number().int().min(1).max(MAX_ATTESTATION_KEY_CERTIFICATE_DAYS).default(7),
});

export type EnrolSettings = z.infer<typeof enrolSettings>;
