import { z } from 'zod';
import { addressSetting } from '../../runtime/config/environment';
import { listenSettings, proxiesSetting } from '../../runtime/config/listen';

export const adminSettings = z.object({
  ...listenSettings,
  TRUSTED_PROXIES: proxiesSetting,
  /** A file with one line: postgres://… */
  DATABASE_URL_FILE: z.string(),
  /** Connections at most, for each replica. */
  DATABASE_POOL: z.coerce.number().int().min(1).max(100).default(4),
  /** Roots of administrators' certificates, PEM. */
  ADMIN_CA_FILE: z.string(),
  TRUST_DOMAIN: z.string(),
  /** A private JWK Set: see readTokenKeys. Signs licence keys; without it none is issued. */
  LICENCE_KEYS_FILE: z.string().optional(),
  /** A private JWK Set: signs heads of the audit log. */
  LOG_KEYS_FILE: z.string(),
  /** What enclaves are, so that a revoked user's can be ended. */
  LAUNCHER: z.enum(['process', 'knative']),
  /** LauncherService, for `process`. */
  LAUNCHER_ADDRESS: addressSetting.optional(),
  /** For `knative`. */
  ENCLAVE_NAMESPACE: z.string().default('licensing-enclaves'),
});
