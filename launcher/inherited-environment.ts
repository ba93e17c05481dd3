import { resolve } from 'node:path';

/**
 * All that the programs of an installation get of the launcher's own environment, documented in docs/operating.md. What else they are told is in
 * `programSettings`, which comes before it.
 */
export const INHERITED_ENVIRONMENT = [
  // Where programs, temporary files and the words of the locale are.
  'PATH',
  'TMPDIR',
  'LANG',
  'LC_ALL',
  'TZ',
  // For an OpenID provider with a private CA, or one that wants a secret of a client that can keep none.
  'NODE_EXTRA_CA_CERTS',
  'OIDC_PUBLIC_CLIENT_SECRET',
  // What the programs say of themselves.
  'LOG_LEVEL',
  'OTEL_EXPORTER_OTLP_ENDPOINT',
  'TRACES_PER_SECOND',
  // What accounts and callers may have and do: of signup and login.
  'DEFAULT_ENCLAVES',
  'MAX_ENCLAVES',
  'LOGINS_PER_ACCOUNT',
  'LOGIN_FAILURES_PER_ACCOUNT',
  'LOGIN_FAILURES_PER_ADDRESS',
  'SIGNUPS_PER_ADDRESS',
  // Seats: login and the enclaves have to agree.
  'DEFAULT_SEATS',
  'SEAT_SECONDS',
  'SEATS',
  'SEAT_GRACE_SECONDS',
  'SEAT_OUTAGE_SECONDS',
  // What guessing a stolen password's hash takes, and every login by password with it.
  'BCRYPT_COST',
  // A TPM that somebody set up for themselves: the attestor's.
  'AK_HANDLE',
  'TPM_TRANSPORT',
  'TPM_OWNER_AUTH_FILE',
  'TPM_ENDORSEMENT_AUTH_FILE',
  // And one without a certificate: enrol's.
  'EK_HASHES_FILE',
] as const;

/** Those that are paths: the programs have another working folder than the launcher, which is what a relative path is meant from. */
const PATHS = new Set<string>([
  'TMPDIR',
  'NODE_EXTRA_CA_CERTS',
  'TPM_OWNER_AUTH_FILE',
  'TPM_ENDORSEMENT_AUTH_FILE',
  'EK_HASHES_FILE',
]);

/** The part of an environment that our programs inherit. */
export function inheritedEnvironment(env: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(
    INHERITED_ENVIRONMENT.flatMap((name) => {
      const value = env[name];
      if (value === undefined) return [];
      return [[name, PATHS.has(name) && value !== '' ? resolve(value) : value]];
    }),
  );
}
