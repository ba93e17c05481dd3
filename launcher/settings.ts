import type { Installation } from './installation';
import { HOST } from './services';
import type { PreparedTpm } from './tpm';

interface Surroundings {
  /** unix:/PATH of what only this machine's programs call. */
  addresses: { enrol: string; attestor: string; launcher: string; admin: string };
  /** Of this run. */
  ports: { signup: number; login: number };
  tpm: PreparedTpm;
  databaseUrlFile: string;
  licenceRequired?: boolean | undefined;
  oidc?: OidcChoice | undefined;
  /** The first of six that follow one another, on the loopback address. */
  metricsPort?: number;
}

/** Logins by an OpenID provider: see licensing/oidc/settings.ts. */
export interface OidcChoice {
  issuer: string;
  clientId: string;
  scopes?: string | undefined;
  signup: boolean;
}

/** The launcher's own port among those of metrics. */
export const OWN_METRICS_PLACE = 5;

type Settings = Record<string, string>;

function oidcSettings({ issuer, clientId, scopes = '', signup }: OidcChoice): Settings {
  return { OIDC_ISSUER: issuer, OIDC_CLIENT_ID: clientId, OIDC_SCOPES: scopes, OIDC_SIGNUP: String(signup) };
}

/** The settings of each program, as its own settings.ts reads them. */
export function programSettings(
  { record, path }: Installation,
  { addresses, ports, tpm, databaseUrlFile, metricsPort, licenceRequired = false, oidc }: Surroundings,
): Record<'enrol' | 'attestor' | 'signup' | 'login' | 'admin', Settings> {
  const accounts = {
    DATABASE_URL_FILE: databaseUrlFile,
    TOKEN_KEYS_FILE: path('keys', 'token-keys.json'),
    SECOND_FACTOR_KEYS_FILE: path('keys', 'second-factor-keys.json'),
    TLS_KEY_FILE: path('keys', 'server.key'),
    TLS_CERTIFICATE_FILE: path('keys', 'server.crt'),
  };
  const launcher = { LAUNCHER: 'process', LAUNCHER_ADDRESS: addresses.launcher };
  const metrics = (place: number): Settings =>
    metricsPort === undefined ? {} : { METRICS_HOST: HOST, METRICS_PORT: String(metricsPort + place) };
  return {
    enrol: {
      ...metrics(2),
      LISTEN: addresses.enrol,
      DATABASE_URL_FILE: databaseUrlFile,
      ATTESTATION_CA_KEY_FILE: path('keys', 'attestation-ca.key'),
      ATTESTATION_CA_CERTIFICATE_FILE: path('keys', 'attestation-ca.crt'),
      EK_ROOTS_DIR: tpm.ekRootsFolder,
      // One machine has one TPM: its maker's roots are named, and nobody else's count.
      EK_ROOTS_SHIPPED: 'off',
      SEAL_KEY_FILE: path('keys', 'seal.key'),
    },
    attestor: {
      ...metrics(4),
      LISTEN: addresses.attestor,
      // Nobody but this user reaches its folder; from inside an enclave's walls, another one does.
      SOCKET_MODE: process.getuid?.() === 0 ? '0666' : '0600',
      TPM: tpm.tcti,
      NODE_NAME: record.node,
      STATE_DIR: path('attestor'),
      ENROL_ADDRESS: addresses.enrol,
      IDENTITY: 'process',
      END_UNREADY: 'true',
      LAUNCHER_KEY_FILE: path('keys', 'launcher.pub.json'),
      ...(tpm.eventLogFile !== undefined && { EVENT_LOG_FILE: tpm.eventLogFile }),
    },
    signup: {
      ...metrics(0),
      ...accounts,
      ...(oidc && oidcSettings(oidc)),
      LISTEN: `https://${HOST}:${ports.signup}`,
    },
    login: {
      ...metrics(1),
      ...accounts,
      ...launcher,
      LISTEN: `https://${HOST}:${ports.login}`,
      CLIENT_CA_KEY_FILE: path('keys', 'client-ca.key'),
      CLIENT_CA_CERTIFICATE_FILE: path('keys', 'client-ca.crt'),
      TRUST_BUNDLE_FILE: path('trust-bundle.jws'),
      REVOCATION_KEYS_FILE: path('keys', 'revocation-keys.json'),
      LICENCE_REQUIRED: String(licenceRequired),
      LOG_KEYS_FILE: path('keys', 'log-keys.json'),
    },
    admin: {
      ...metrics(3),
      ...launcher,
      LISTEN: addresses.admin,
      DATABASE_URL_FILE: databaseUrlFile,
      ADMIN_CA_FILE: path('keys', 'admin-ca.crt'),
      LICENCE_KEYS_FILE: path('keys', 'licence-keys.json'),
      LOG_KEYS_FILE: path('keys', 'log-keys.json'),
    },
  };
}
