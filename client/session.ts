import { X509Certificate } from 'node:crypto';
import { z } from 'zod';
import { certificateIdentity, parseClientIdentity } from '../attestation/certificates/client-identity';
import { parseClaims } from '../attestation/evidence/claims';
import { readEvidenceJson, writeEvidenceJson } from '../attestation/evidence/json';
import { isEnclaveName } from '../attestation/evidence/enclave-name';
import type { Claims, Evidence } from '../proto/gen/licensing/v1/evidence';
import type { EnclaveLocation } from '../proto/gen/licensing/v1/login';
import type { SessionTokens } from './account';

/** A login: what is needed to connect to the enclave, and the evidence that it was believed for. Holds secrets: the client's key and tokens. */
export interface Session extends SessionTokens {
  /** PEM (PKCS#8), P-256. */
  clientKey: string;
  /** DER, leaf first. */
  clientCertificates: Buffer[];
  enclave: EnclaveLocation;
  /** Which of the user's enclaves was asked for; left out: `default`. */
  enclaveName?: string | undefined;
  /** Fingerprint of the trust key of its installation; undefined in one of an earlier release. */
  trustKey?: string | undefined;
  /** Of the purpose CERTIFICATE, for `nonce`. */
  evidence: Evidence;
  /** What that evidence says, as it was verified. */
  claims: Claims;
  /** 32 bytes. */
  nonce: Buffer;
  /** The licence that the login was by, if by any. By the word of the login service. */
  licence?: SessionLicence | undefined;
}

/** A licence, and until when logins work by it, in Unix seconds. */
export interface SessionLicence {
  licence: string;
  /** Name of its plan. */
  plan: string;
  until: number;
  graceUntil: number;
}

const base64 = z.base64().transform((text) => Buffer.from(text, 'base64'));

const sessionSchema = z.strictObject({
  version: z.literal(1),
  accessToken: z.string(),
  accessTokenExpiresAt: z.number(),
  refreshToken: z.string().optional(),
  refreshTokenExpiresAt: z.number().optional(),
  clientKey: z.string(),
  clientCertificates: z.array(base64).min(1),
  enclave: z.strictObject({
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
  licence: z
    .strictObject({ licence: z.string(), plan: z.string(), until: z.number(), graceUntil: z.number() })
    .optional(),
});

/** A session as JSON. For a file that nobody else can read: it holds the client's private key. */
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
 * Reads what `serializeSession` wrote. The evidence in it was verified before, and is again at every use.
 * @throws TypeError, EvidenceFileError, EvidenceError
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

/** The session's id, as its client certificate names it. */
export function sessionId({ clientCertificates: [leaf] }: Pick<Session, 'clientCertificates'>): string | undefined {
  const uri = leaf && certificateIdentity(leaf);
  return uri === undefined ? undefined : parseClientIdentity(uri)?.session;
}

/** When the client certificate ends, in Unix seconds: no connection is made with it after that. */
export function certificateExpiresAt({ clientCertificates: [leaf] }: Pick<Session, 'clientCertificates'>): number {
  return leaf ? Date.parse(new X509Certificate(leaf).validTo) / 1000 : 0;
}
