import { randomBytes, randomUUID } from 'node:crypto';
import { compactDecrypt, CompactEncrypt } from 'jose';
import { z } from 'zod';
import { CodedError } from '../../errors/coded-error';
import { decodeUtf8 } from '../../runtime/text/utf8';

const TYPE = 'sls-second-factor+jwe';
const ALGORITHMS = { keyManagementAlgorithms: ['dir'], contentEncryptionAlgorithms: ['A256GCM'] };

const keySet = z.object({
  keys: z
    .array(
      z.object({
        kty: z.literal('oct'),
        k: z.string().regex(/^[\w-]{43}$/, 'expected 32 bytes, base64url'),
        kid: z.string().min(1).max(128),
      }),
    )
    .min(1),
});
const contentSchema = z.object({ sub: z.uuid(), secret: z.base64() });

/** A key file that can't be used. The message holds no key. */
class SecondFactorKeysError extends CodedError<'second_factor.keys_invalid'> {
  override readonly name = 'SecondFactorKeysError';

  constructor(message: string, options?: ErrorOptions) {
    super('second_factor.keys_invalid', message, options);
  }
}

/** Encrypts authenticators' secrets, so that a copy of the database is no copy of the factors. */
export interface SecondFactorKeys {
  seal(user: string, secret: Uint8Array): Promise<string>;
  /** @throws where it is of a key that is gone, or was another user's */
  open(user: string, sealed: string): Promise<Buffer>;
}

/** Makes a key: a JWK Set with one key of 32 bytes, JSON text, as SECOND_FACTOR_KEYS_FILE holds it. A secret. */
export function generateSecondFactorKeys(): string {
  return JSON.stringify({
    keys: [{ kty: 'oct', k: randomBytes(32).toString('base64url'), kid: randomUUID(), alg: 'A256GCM', use: 'enc' }],
  });
}

/** Reads a JWK Set (RFC 7517) of such keys: the first encrypts, all decrypt. @throws SecondFactorKeysError */
export function readSecondFactorKeys(json: string): SecondFactorKeys {
  let keys: z.infer<typeof keySet>['keys'];
  try {
    ({ keys } = keySet.parse(JSON.parse(json)));
  } catch (error) {
    const reason =
      error instanceof z.ZodError
        ? error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ')
        : 'not JSON';
    throw new SecondFactorKeysError(`expected a JWK Set of symmetric keys: ${reason}`);
  }
  const byId = new Map(keys.map(({ kid, k }) => [kid, Buffer.from(k, 'base64url')]));
  const first = keys[0]!;
  return {
    seal(user, secret) {
      const content = JSON.stringify({ sub: user, secret: Buffer.from(secret).toString('base64') });
      return new CompactEncrypt(Buffer.from(content))
        .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', typ: TYPE, kid: first.kid })
        .encrypt(byId.get(first.kid)!);
    },
    async open(user, sealed) {
      const find = ({ kid, typ }: { kid?: string; typ?: string }): Uint8Array => {
        const key = typ === TYPE && kid !== undefined ? byId.get(kid) : undefined;
        if (!key) throw new SecondFactorKeysError('the secret was encrypted by a key that is not there');
        return key;
      };
      const { plaintext } = await compactDecrypt(sealed, find, ALGORITHMS);
      const { sub, secret } = contentSchema.parse(JSON.parse(decodeUtf8(plaintext, 'a secret')));
      // Whoever can write to the database can't give a user the factor of another one.
      if (sub !== user) throw new SecondFactorKeysError("the secret is another user's");
      return Buffer.from(secret, 'base64');
    },
  };
}
