import { compactVerify, decodeProtectedHeader } from 'jose';
import { z } from 'zod';
import { verifyAdminCertificate } from '../certificates/admin';
import { CertificateError } from '../certificates/errors';
import { isP256, sha256 } from '../crypto';
import { CodedError } from '../../errors/coded-error';
import type { AdministratorProofCode } from '../../errors/administrator';
import { decodeUtf8 } from '../bytes/utf8';

/** Metadata of an administrator's call. */
export const ADMIN_PROOF_KEY = 'sls-admin-proof';
/** `typ` of an administrator's proof (RFC 8725, 3.11). */
export const ADMIN_PROOF_TYPE = 'sls-admin+jwt';
/** Clocks of administrator and service may differ by this; as long a proof is remembered, and no older one is taken. */
const ADMIN_PROOF_SECONDS = 60;
/** Holds one or two certificates; more is not worth parsing. */
const MAX_PROOF_LENGTH = 16 * 1024;

/** A call that no administrator is shown to have made. `code` is stable. */
export class AdminProofError extends CodedError<AdministratorProofCode> {
  override readonly name = 'AdminProofError';
}

const payloadSchema = z.object({
  aud: z.string(),
  /** Full name of the method, /PACKAGE.SERVICE/METHOD; the claim's name is DPoP's (RFC 9449, 4.2). */
  htm: z.string(),
  /** SHA-256 of the serialized request, hex. */
  request_sha256: z.string().regex(/^[0-9a-f]{64}$/),
  iat: z.number().int(),
  jti: z.uuid(),
});

const headerSchema = z.object({
  alg: z.literal('ES256'),
  typ: z.literal(ADMIN_PROOF_TYPE),
  x5c: z
    .array(z.string().regex(/^[A-Za-z0-9+/]+={0,2}$/))
    .min(1)
    .max(4),
});

/** The call that a proof is for. */
export interface AdminCall {
  /** /licensing.v1.AdminService/METHOD */
  method: string;
  /** The request as it is serialized. */
  request: Uint8Array;
}

/** Hex: what `request_sha256` holds. */
export const requestSha256Of = (request: Uint8Array): string => sha256(request).toString('hex');

/**
 * Checks that an administrator signed this very call, around now. That it is used once is the caller's to see to, by `jti`,
 * until `expiresAt`.
 * @param rootsPem the admin CA's certificates
 * @throws AdminProofError
 */
export async function verifyAdminProof(
  proof: string | undefined,
  call: AdminCall,
  { rootsPem, trustDomain, now }: { rootsPem: string; trustDomain: string; now: Date },
): Promise<{ name: string; jti: string; expiresAt: Date }> {
  if (proof === undefined || proof === '')
    throw new AdminProofError(
      'admin.proof_missing',
      `expected an administrator's proof in ${ADMIN_PROOF_KEY}, got none`,
    );
  if (proof.length > MAX_PROOF_LENGTH)
    throw new AdminProofError('admin.proof_malformed', `expected a proof of ${MAX_PROOF_LENGTH} characters at most`);
  const { name, publicKey } = readCertificate(proof, { rootsPem, trustDomain, now });
  const { payload } = await compactVerify(proof, publicKey, { algorithms: ['ES256'] }).catch((cause: unknown) => {
    throw new AdminProofError('admin.proof_signature', "the proof is not signed by its certificate's key", { cause });
  });
  const claims = payloadSchema.safeParse(parseJson(payload));
  if (!claims.success)
    throw new AdminProofError('admin.proof_malformed', 'a claim of the proof is missing or malformed');
  const { aud, htm, request_sha256: requestSha256, iat, jti } = claims.data;
  if (aud !== trustDomain)
    throw new AdminProofError(
      'admin.proof_audience',
      `expected a proof for ${trustDomain}, got one for another installation`,
    );
  if (htm !== call.method) throw new AdminProofError('admin.proof_method', 'the proof is for another method');
  if (requestSha256 !== requestSha256Of(call.request))
    throw new AdminProofError('admin.proof_request', 'the proof is for another request');
  if (Math.abs(now.getTime() / 1000 - iat) > ADMIN_PROOF_SECONDS) {
    throw new AdminProofError(
      'admin.proof_time',
      `expected a proof made within ${ADMIN_PROOF_SECONDS} seconds of ${now.toISOString()}`,
    );
  }
  return { name, jti, expiresAt: new Date((iat + ADMIN_PROOF_SECONDS) * 1000) };
}

/**
 * The administrator's certificate that a proof brings along, where it is good.
 * @throws AdminProofError admin.proof_malformed, admin.proof_type, admin.certificate
 */
export function readCertificate(
  proof: string,
  options: { rootsPem: string; trustDomain: string; now: Date },
): ReturnType<typeof verifyAdminCertificate> {
  let header: ReturnType<typeof decodeProtectedHeader>;
  try {
    header = decodeProtectedHeader(proof);
  } catch (cause) {
    throw new AdminProofError('admin.proof_malformed', 'expected a compact JWS', { cause });
  }
  const parsed = headerSchema.safeParse(header);
  if (!parsed.success)
    throw new AdminProofError('admin.proof_type', `expected a header with alg ES256, typ ${ADMIN_PROOF_TYPE} and x5c`);
  try {
    const verified = verifyAdminCertificate(
      parsed.data.x5c.map((text) => Buffer.from(text, 'base64')),
      options.rootsPem,
      options,
    );
    if (!isP256(verified.publicKey)) throw new CertificateError('certificate.weak_key', 'expected a P-256 key');
    return verified;
  } catch (cause) {
    if (!(cause instanceof CertificateError)) throw cause;
    throw new AdminProofError('admin.certificate', `the administrator's certificate is refused (${cause.code})`, {
      cause,
    });
  }
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(decodeUtf8(bytes));
  } catch {
    return undefined;
  }
}
