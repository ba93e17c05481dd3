import { CompactEncrypt, compactDecrypt } from 'jose';
import { status } from '@grpc/grpc-js';
import { z } from 'zod';
import { RpcError } from '../../runtime/rpc/errors';
import { decodeUtf8 } from '../../runtime/text/utf8';

const LIFE_SECONDS = 300;
const TYPE = 'sls-enrolment+jwe';

/** A replica of another release may have sealed it: what isn't known is passed over. */
const schema = z.object({
  jti: z.uuid(),
  /** Unix seconds. */
  exp: z.int(),
  node: z.string(),
  /** Public area of the attestation key, TPMT_PUBLIC, base64. */
  ak: z.string(),
  /** SHA-256 of the secret that activation has to give, hex. */
  secretSha256: z.string().regex(/^[0-9a-f]{64}$/),
  ekSha256: z.string().regex(/^[0-9a-f]{64}$/),
  tpm: z.object({ manufacturer: z.string(), model: z.string(), firmware: z.string(), software: z.boolean() }),
});

/** What was found out before the challenge, and all that the answer is judged by: the service itself remembers nothing. */
type Challenge = z.infer<typeof schema>;

/**
 * Seals a challenge to the service itself (JWE, RFC 7516: `dir` with A256GCM): whoever carries it can neither read nor change it.
 * @param key 32 bytes
 */
export function sealChallenge(challenge: Omit<Challenge, 'exp'>, key: Uint8Array, now: Date): Promise<string> {
  const content: Challenge = { ...challenge, exp: Math.floor(now.getTime() / 1000) + LIFE_SECONDS };
  return new CompactEncrypt(Buffer.from(JSON.stringify(content)))
    .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', typ: TYPE })
    .encrypt(key);
}

/** @throws RpcError UNAUTHENTICATED enrol.challenge_invalid, enrol.challenge_expired */
export async function openChallenge(text: string, key: Uint8Array, now: Date): Promise<Challenge> {
  let challenge: Challenge;
  try {
    const options = { keyManagementAlgorithms: ['dir'], contentEncryptionAlgorithms: ['A256GCM'] };
    const { plaintext, protectedHeader } = await compactDecrypt(text, key, options);
    if (protectedHeader.typ !== TYPE) throw new TypeError(`expected typ ${TYPE}`);
    challenge = schema.parse(JSON.parse(decodeUtf8(plaintext, 'a challenge')));
  } catch (cause) {
    throw new RpcError('enrol.challenge_invalid', status.UNAUTHENTICATED, 'expected a challenge of this service', {
      cause,
    });
  }
  if (challenge.exp <= now.getTime() / 1000) {
    throw new RpcError(
      'enrol.challenge_expired',
      status.UNAUTHENTICATED,
      `expected a challenge of the last ${LIFE_SECONDS} seconds`,
    );
  }
  return challenge;
}
