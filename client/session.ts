import { X509Certificate } from 'node:crypto';
import { z } from 'zod';
import { certificateIdentity, parseClientIdentity } from '../attestation/certificates/client-identity';
import { parseClaims } from '../attestation/evidence/claims';
import { readEvidenceJson, writeEvidenceJson } from '../attestation/evidence/json';
import { isEnclaveName } from '../attestation/evidence/enclave-name';
import type { Claims, Evidence } from '../proto/gen/licensing/v1/evidence';
import type { EnclaveLocation } from '../proto/gen/licensing/v1/login';
import type { SessionTokens } from './account';

/** The result of a login: what `connect` needs, and the evidence that was verified. Holds secrets: the client key and tokens. */
export interface Session extends SessionTokens {
  /** PEM (PKCS#8), P-256. */
  clientKey: string;
  /** DER, leaf first. */
  clientCertificates: Buffer[];
  /** Where the enclave is: `endpoint` is http://HOST:PORT, `tlsAddress` HOST:PORT, or empty if TLS runs inside EnclaveService.Tunnel. */
  enclave: EnclaveLocation;
  /** Name of the user's enclave. Default: `default`. */
  enclaveName?: string | undefined;
  /** Fingerprint of the installation's trust key; undefined in sessions saved by an earlier release. */
  trustKey?: string | undefined;
  /** With purpose CERTIFICATE, for `nonce`. */
  evidence: Evidence;
  /** The verified claims of that evidence. */
  claims: Claims;
  /** 32 bytes. */
  nonce: Buffer;
  /** The licence that applied to the login, if any, as stated by the login service. */
  licence?: SessionLicence | undefined;
}

/** The licence that applied to a login. */
export interface SessionLicence {
  /** Id (UUID). */
  licence: string;
  /** Name of its plan. */
  plan: string;
  /** Unix seconds. */
  until: number;
  /** Logins work until then. Unix seconds. */
  graceUntil: number;
}

const base64 = z.base64().transform((text) => Buffer.from(text, 'base64'));

/** What a newer release kept as well is passed over. */
const sessionSchema = z.object({
  version: z.literal(1),
  accessToken: z.string(),
  accessTokenExpiresAt: z.number(),
  refreshToken: z.string().optional(),
  refreshTokenExpiresAt: z.number().optional(),
  clientKey: z.string(),
  clientCertificates: z.array(base64).min(1),
  enclave: z.object({
    user: z.string(),
    workloadUid: z.string(),
    node: z.string(),
    endpoint: z.string(),
    tlsAddress: z.string(),
  }),
  enclaveName: z.string().refine(isEnclaveName).optional(),
  trustKey: z.string().optional(),
  evidence: z.unknown(),
  nonce: base64,
  licence: z.object({ licence: z.string(), plan: z.string(), until: z.number(), graceUntil: z.number() }).optional(),
});

/** Writes a session as JSON. Store it with mode 0600: it holds the client's private key. */
export function serializeSession({ claims: _, ...session }: Session): string {
  return JSON.stringify({
    version: 1,
    ...session,
    clientCertificates: session.clientCertificates.map((certificate) => certificate.toString('base64')),
    evidence: JSON.parse(writeEvidenceJson(session.evidence)) as unknown,
    nonce: session.nonce.toString('base64'),
  });
}

/**
 * Reads what `serializeSession` wrote. `connect` verifies its evidence again.
 * @throws TypeError if the text is no session; EvidenceFileError, EvidenceError if its evidence is malformed
 */
export function parseSession(text: string): Session {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new TypeError('expected a session in JSON, got something else');
  }
  const result = sessionSchema.safeParse(json);
  if (!result.success) {
    throw new TypeError(
      `expected a session, got: ${result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ')}`,
    );
  }
  const {
    accessToken,
    accessTokenExpiresAt,
    refreshToken,
    refreshTokenExpiresAt,
    clientKey,
    clientCertificates,
    enclave,
    enclaveName,
    trustKey,
    evidence,
    nonce,
    licence,
  } = result.data;
  const verified = readEvidenceJson(JSON.stringify(evidence));
  const tokens: SessionTokens = { accessToken, accessTokenExpiresAt, refreshToken, refreshTokenExpiresAt };
  return {
    ...tokens,
    clientKey,
    clientCertificates,
    enclave,
    enclaveName,
    trustKey,
    evidence: verified,
    claims: parseClaims(verified.claims),
    nonce,
    licence,
  };
}

/** Id (UUID) of the session, from its client certificate; undefined if the certificate names none. */
export function sessionId({ clientCertificates: [leaf] }: Pick<Session, 'clientCertificates'>): string | undefined {
  const uri = leaf && certificateIdentity(leaf);
  return uri === undefined ? undefined : parseClientIdentity(uri)?.session;
}

/** Longest life of an access token, in seconds: one that seems to have more was given while a clock was ahead that has been put right since. */
const MAX_ACCESS_TOKEN_SECONDS = 3600;

/** True of an access token that is good now, as far as its times say, and `margin` seconds from now. */
export function isTokenFresh(expiresAt: number, now: number, margin: number): boolean {
  const left = expiresAt - now;
  return left > margin && left <= MAX_ACCESS_TOKEN_SECONDS;
}

/** When the client certificate begins, in Unix seconds: some minutes before it was given. */
export function certificateBeginsAt({ clientCertificates: [leaf] }: Pick<Session, 'clientCertificates'>): number {
  return leaf ? Date.parse(new X509Certificate(leaf).validFrom) / 1000 : 0;
}

/** When the client certificate ends, in Unix seconds: no connection is made with it after that. */
export function certificateExpiresAt({ clientCertificates: [leaf] }: Pick<Session, 'clientCertificates'>): number {
  return leaf ? Date.parse(new X509Certificate(leaf).validTo) / 1000 : 0;
}
