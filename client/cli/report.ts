import { formatUnixSeconds } from './time';
import { sha256Hex } from '../../attestation/crypto';
import { enclaveOf } from '../../attestation/evidence/enclave-name';
import type { Claims } from '../../proto/gen/licensing/v1/evidence';
import type { SavedSession } from './session-file';

/** What claims say, for people and programs. */
export function describeClaims(claims: Claims): Record<string, string> {
  return {
    user: claims.user,
    enclave: enclaveOf(claims),
    workload: claims.workloadUid,
    node: claims.node,
    image: claims.imageDigest,
    certificate: claims.certificateSha256.toString('hex'),
    clientKey: claims.clientKeySha256.toString('hex'),
    issued: formatUnixSeconds(claims.issuedAt),
    expires: formatUnixSeconds(claims.expiresAt),
  };
}

/** A line of a table; names as programs read them, `clientKey`, become words. */
export function row([name, value]: [string, unknown]): string {
  return `${name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).padEnd(12)} ${String(value)}`;
}

/**
 * Who is logged in, where the enclave is, until when, and what its evidence says. No secret is in it.
 * @param standing what has become of the session and its licence, where that was asked
 */
export function describeSession(
  { username, session, trust }: Pick<SavedSession, 'username' | 'session' | 'trust'>,
  standing?: { json: object; session: string; licence?: string | undefined },
): {
  json: object;
  lines: string[];
} {
  const claims = describeClaims(session.claims);
  const { enclave, licence } = session;
  const json = {
    username,
    user: enclave.user,
    services: trust.services,
    enclave: {
      name: claims['enclave'],
      workload: enclave.workloadUid,
      node: enclave.node,
      endpoint: enclave.endpoint,
      tlsAddress: enclave.tlsAddress,
    },
    accessTokenExpires: formatUnixSeconds(session.accessTokenExpiresAt),
    ...(licence && {
      licence: {
        ...licence,
        until: formatUnixSeconds(licence.until),
        graceUntil: formatUnixSeconds(licence.graceUntil),
      },
    }),
    clientCertificateSha256: sha256Hex(session.clientCertificates[0] ?? ''),
    claims,
    ...standing?.json,
  };
  const rows: Array<[string, string]> = [
    ['username', username],
    ...(standing ? [['session', standing.session] as [string, string]] : []),
    ['service', trust.services.login],
    ['reached at', enclave.tlsAddress || enclave.endpoint],
    ['token until', json.accessTokenExpires],
    ...(standing?.licence === undefined ? [] : [['licence', standing.licence] as [string, string]]),
    ...Object.entries(claims),
  ];
  return { json, lines: rows.map(row) };
}
