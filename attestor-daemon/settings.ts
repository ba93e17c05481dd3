import { z } from 'zod';
import { addressSetting } from '../runtime/config/environment';
import { listenSettings } from '../runtime/config/listen';

/** RFC 1123 subdomain, as Kubernetes names nodes. */
const NODE_NAME = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/;

export const attestorSettings = z.object({
  ...listenSettings,
  /** Permission bits of the socket, octal. Who may ask is decided by credential. */
  SOCKET_MODE: z
    .string()
    .regex(/^0?[0-7]{3}$/, 'expected octal permission bits such as 0600')
    .default('0600')
    .transform((text) => parseInt(text, 8)),
  /** device:/dev/tpmrm0, swtpm:path=/SOCKET, or another TCTI that tpm2-tools take: a name, and after a colon its configuration. */
  TPM: z.string().regex(/^[a-z][a-z0-9_.-]*(:.+)?$/, 'expected a TCTI such as device:/PATH or swtpm:path=/PATH'),
  /** Who makes quotes: the TPM's own commands, or tpm2-tools. Left out: the former, where they can be given over the TCTI. */
  TPM_TRANSPORT: z.enum(['native', 'tools']).optional(),
  /** Holds the password of the TPM's owner hierarchy, where it has one. Left out: empty. */
  TPM_OWNER_AUTH_FILE: z.string().startsWith('/', 'expected an absolute path').optional(),
  /** Holds the password of the TPM's endorsement hierarchy, where it has one. Left out: empty. */
  TPM_ENDORSEMENT_AUTH_FILE: z.string().startsWith('/', 'expected an absolute path').optional(),
  /** For a launcher that waits: ends the program when the first attempt to have its key certified shows that a person has to change something. */
  END_UNREADY: z.stringbool().default(false),
  NODE_NAME: z.string().regex(NODE_NAME, 'expected a DNS name in lower case'),
  /** Authorization of the attestation key, its certificate, used credentials: survives restarts, on this node and for one attestor only. */
  STATE_DIR: z.string().min(1),
  ENROL_ADDRESS: addressSetting,
  /** PEM, instead of the system's authorities, when ENROL_ADDRESS is https. */
  ENROL_ROOTS_FILE: z.string().optional(),
  IDENTITY: z.enum(['process', 'kubernetes']),
  /** Public JWK of the launcher, for IDENTITY=process. */
  LAUNCHER_KEY_FILE: z.string().optional(),
  /** Persistent handle of the attestation key, in the owner's range (TCG Registry of Reserved TPM 2.0 Handles, 2.3.1). */
  AK_HANDLE: z
    .string()
    .regex(/^0x810[0-9a-f]{5}$/i, 'expected a persistent handle such as 0x81010010')
    .default('0x81010010'),
  /** What the kernel keeps of the firmware's measurements; a node without it has evidence without it. */
  EVENT_LOG_FILE: z.string().default('/sys/kernel/security/tpm0/binary_bios_measurements'),
  /** For benchmarks only: makes the TPM as slow as a real one, for each quote. */
  QUOTE_DELAY_MS: z.coerce.number().int().min(0).max(60_000).default(0),
});

export type AttestorSettings = z.infer<typeof attestorSettings>;
