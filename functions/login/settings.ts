import { z } from 'zod';
import { seatGraceSetting } from '../../attestation/seats/grace';
import { accountSettings } from '../../licensing/accounts/backend';
import { addressSetting } from '../../runtime/config/environment';
import { listenSettings } from '../../runtime/config/listen';

export const loginSettings = z.object({
  ...listenSettings,
  ...accountSettings,
  /** The authority that certifies clients' TLS keys, PEM. */
  CLIENT_CA_KEY_FILE: z.string(),
  CLIENT_CA_CERTIFICATE_FILE: z.string(),
  /** The signed trust bundle that clients get. */
  TRUST_BUNDLE_FILE: z.string(),
  /** A private JWK Set: see readTokenKeys. Signs revocation lists. */
  REVOCATION_KEYS_FILE: z.string(),
  /** Whether only users with a licence may log in. */
  LICENCE_REQUIRED: z
    .enum(['true', 'false'])
    .default('false')
    .transform((text) => text === 'true'),
  /** A private JWK Set: signs heads of the audit log. */
  LOG_KEYS_FILE: z.string(),
  /** What starts enclaves. `knative` has settings of its own: launcher/knative-settings.ts. */
  LAUNCHER: z.enum(['process', 'knative']),
  /** LauncherService, for `process`. */
  LAUNCHER_ADDRESS: addressSetting.optional(),
  /** Enclaves that one user may have, where no licence says so. */
  DEFAULT_ENCLAVES: z.coerce.number().int().min(1).max(1000).default(4),
  /** Enclaves of all users together; 0: as many as they may have each. */
  MAX_ENCLAVES: z.coerce.number().int().min(0).max(1_000_000).default(1000),
  /** Logins of one account, at once and again in an hour: each is a record of the audit log. 0: as many as anyone likes. */
  LOGINS_PER_ACCOUNT: z.coerce.number().int().min(0).max(1_000_000).default(600),
  /** Sessions at once of one account, where no licence says so. */
  DEFAULT_SEATS: z.coerce.number().int().min(1).max(1_000_000).default(16),
  /** A seat whose heartbeat is missed for so long is free. */
  SEAT_SECONDS: z.coerce.number().int().min(3).max(3600).default(180),
  /** As the enclaves have it: what was begun by a seat that has lapsed runs so long, and the seat counts for its user. */
  SEAT_GRACE_SECONDS: seatGraceSetting,
  /** Seats stay for so long at most while no login service reaches the database. 0: they lapse. */
  SEAT_OUTAGE_SECONDS: z.coerce.number().int().min(0).max(86_400).default(14_400),
});
