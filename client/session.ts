import { z } from 'zod';
import { readEvidenceJson, writeEvidenceJson } from '../core/evidence/json';
import type { Evidence } from '../proto/gen/licensing/v1/evidence';
import type { EnclaveLocation } from '../proto/gen/licensing/v1/login';

/** A login: what is needed to connect to the enclave, and the evidence that it was believed for. Holds secrets: the client's key and a token. */
export interface Session {
  accessToken: string;
  /** Unix seconds. */
  accessTokenExpiresAt: number;
  /** PEM (PKCS#8), P-256. */
  clientKey: string;
  /** DER, leaf first. */
  clientCertificates: Buffer[];
  enclave: EnclaveLocation;
  /** Of the purpose CERTIFICATE, for `nonce`. */
  evidence: Evidence;
  /** 32 bytes. */
  nonce: Buffer;
}

const base64 = z.base64().transform((text) => Buffer.from(text, 'base64'));

const sessionSchema = z.strictObject({
  version: z.literal(1),
  accessToken: z.string(),
  accessTokenExpiresAt: z.number(),
  clientKey: z.string(),
  clientCertificates: z.array(base64).min(1),
  enclave: z.strictObject({
    user: z.string(),
    workloadUid: z.string(),
    node: z.string(),
    endpoint: z.string(),
    tlsAddress: z.string(),
  }),
  evidence: z.unknown(),
  nonce: base64,
});

/** A session as JSON. For a file that nobody else can read: it holds the client's private key. */
export function serializeSession(session: Session): string {
  return JSON.stringify({
    version: 1,
    ...session,
    clientCertificates: session.clientCertificates.map((certificate) => certificate.toString('base64')),
    evidence: JSON.parse(writeEvidenceJson(session.evidence)) as unknown,
    nonce: session.nonce.toString('base64'),
  });
}

/**
 * Reads what `serializeSession` wrote. The evidence in it is verified again at every use.
 * @throws TypeError, EvidenceFileError
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
    throw new TypeError(`expected a session, got: ${result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ')}`);
  }
  const { accessToken, accessTokenExpiresAt, clientKey, clientCertificates, enclave, evidence, nonce } = result.data;
  return {
    accessToken,
    accessTokenExpiresAt,
    clientKey,
    clientCertificates,
    enclave,
    evidence: readEvidenceJson(JSON.stringify(evidence)),
    nonce,
  };
}
