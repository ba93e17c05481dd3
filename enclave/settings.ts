import { z } from 'zod';
import { seatGraceSetting } from '../attestation/seats/grace';
import { addressSetting, listenAddressSetting } from '../runtime/config/environment';
import { proxiesSetting } from '../runtime/config/listen';

/** HOST:PORT, an IPv6 host in brackets; or a socket that was passed on: fd:NUMBER. */
const tlsListen = z.string().transform((text, context) => {
  const [, fd] = /^fd:(\d{1,4})$/.exec(text) ?? [];
  if (fd !== undefined) return { fd: Number(fd) };
  const [, host, port] = /^(\[[0-9a-fA-F:]+\]|[^:[\]]+):(\d{1,5})$/.exec(text) ?? [];
  if (host !== undefined && Number(port) <= 65535) return { host: host.replace(/^\[|\]$/g, ''), port: Number(port) };
  context.addIssue({ code: 'custom', message: `expected HOST:PORT, got ${JSON.stringify(text)}` });
  return z.NEVER;
});

export const enclaveSettings = z.object({
  /** EnclaveService, without TLS of its own: nothing there is secret. */
  LISTEN: listenAddressSetting,
  TRUSTED_PROXIES: proxiesSetting,
  /** The enclave's own TLS, where it has an address of its own. */
  TLS_LISTEN: tlsListen.optional(),
  ATTESTOR_ADDRESS: addressSetting,
  /** Read again at every connection to the attestor: credentials are short-lived. */
  ATTESTOR_CREDENTIAL_FILE: z.string().min(1),
  /** PEM, one or more roots of client certificates. */
  CLIENT_CA_FILE: z.string().min(1),
  /** The only user that is let in. */
  ENCLAVE_USER: z.string().min(1),
  TRUST_DOMAIN: z.string().min(1).default('sls.local'),
  WORKSPACE_DIR: z.string().startsWith('/'),
  /** Ends after so many seconds without a connection; 0: never, which is a cluster's own business. */
  IDLE_SECONDS: z.coerce.number().int().min(0).default(0),
  /** off: whoever may connect may work, without a seat. */
  SEATS: z.enum(['required', 'off']).default('required'),
  /** What runs when a seat lapses is told, and ended so many seconds later. */
  SEAT_GRACE_SECONDS: seatGraceSetting,
  /**
   * Holds the enclave's own files: credential, program, the way to its attestor. Where it is set, the enclave is in a sandbox where it may make namespaces, and
   * commands run in some of their own, in which they see neither this folder nor the enclave's program (session/command-namespaces.ts).
   */
  HIDDEN_DIR: z.string().startsWith('/').optional(),
  READY_FILE: z.string().optional(),
});

export type EnclaveSettings = z.infer<typeof enclaveSettings>;
