import { createHmac, createPublicKey, randomUUID, sign } from 'node:crypto';
import type { JsonWebKey } from 'node:crypto';
import fc from 'fast-check';
import { CompactSign, createLocalJWKSet, importJWK, jwtVerify, SignJWT } from 'jose';
import type { JSONWebKeySet } from 'jose';
import { issueAccessToken, TokenError, verifyAccessToken } from '../../../licensing/tokens/access-token';
import { generateTokenKeys, readTokenKeys } from '../../../licensing/tokens/keys';
import type { TokenKeys } from '../../../licensing/tokens/keys';

const trustDomain = 'sls.test';
const now = new Date('2026-11-25T10:00:00Z');
const seconds = now.getTime() / 1000;
const context = { trustDomain, now };
const user = '6b3c9a52-6e0e-4a3e-9df1-5c9d6f0f2a11';
const session = 'b7d3a1c8-0000-4000-8000-000000000001';

let json: string;
let keys: TokenKeys;

const good = (): Record<string, unknown> => ({
  iss: `https://${trustDomain}`,
  aud: 'sls',
  sub: user,
  session,
  jti: randomUUID(),
  iat: seconds,
  exp: seconds + 900,
  auth_time: seconds,
});

beforeAll(async () => {
  json = await generateTokenKeys();
  keys = await readTokenKeys(json);
});

async function refusal(token: string, at: { trustDomain: string; now?: Date } = context): Promise<string> {
  try {
    await verifyAccessToken(keys, token, at);
  } catch (error) {
    if (error instanceof TokenError) return error.code;
    throw error;
  }
  return 'accepted';
}

/** Signed by our own key: only the claims and the header are another's. */
function signed(claims: Record<string, unknown>, header: Record<string, unknown> = {}): Promise<string> {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: keys.signing.kid, ...header })
    .sign(keys.signing.key);
}

function without(name: string): Record<string, unknown> {
  const claims = good();
  delete claims[name];
  return claims;
}

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

describe('an access token', () => {
  test('says who the user is, for fifteen minutes', async () => {
    const { token, expiresAt } = await issueAccessToken(keys, { user, session, authenticatedAt: seconds }, context);
    expect(expiresAt).toBe(seconds + 900);
    expect(await verifyAccessToken(keys, token, context)).toEqual({
      user,
      session,
      authenticatedAt: seconds,
      generation: 0,
      expiresAt,
    });
    const at = (offset: number): { trustDomain: string; now: Date } => ({
      trustDomain,
      now: new Date(now.getTime() + offset * 1000),
    });
    expect(await refusal(token, at(899))).toBe('accepted');
    expect(await refusal(token, at(906))).toBe('token.expired');
    expect(await refusal(token, at(-60))).toBe('token.not_yet_valid');
  });

  test('can be verified by anyone with the published keys', async () => {
    const { token } = await issueAccessToken(keys, { user, session, authenticatedAt: seconds }, context);
    const published = createLocalJWKSet(JSON.parse(keys.jwks) as JSONWebKeySet);
    expect((await jwtVerify(token, published, { currentDate: now })).payload.sub).toBe(user);
    expect(keys.jwks).not.toContain('"d"');
  });

  test('of the key before is good while both keys are there, and no longer when the key is gone', async () => {
    const { token } = await issueAccessToken(keys, { user, session, authenticatedAt: seconds }, context);
    const fresh = JSON.parse(await generateTokenKeys()) as { keys: object[] };
    const old = JSON.parse(json) as { keys: object[] };
    const both = await readTokenKeys(JSON.stringify({ keys: [...fresh.keys, ...old.keys] }));
    expect(both.signing.kid).not.toBe(keys.signing.kid);
    expect((await verifyAccessToken(both, token, context)).user).toBe(user);
    const rotated = await readTokenKeys(JSON.stringify(fresh));
    await expect(verifyAccessToken(rotated, token, context)).toRejectWithCode('token.unknown_key');
  });
});

describe('a token is refused', () => {
  test('with alg none', async () => {
    const body = encode(good());
    for (const alg of ['none', 'None', 'NONE', '']) {
      expect(await refusal(`${encode({ alg, typ: 'at+jwt', kid: keys.signing.kid })}.${body}.`)).toMatch(
        /^token\.(algorithm|malformed)$/,
      );
    }
  });

  test('with HS256 and the public key as the secret', async () => {
    const jwk = (JSON.parse(keys.jwks) as { keys: JsonWebKey[] }).keys[0]!;
    const publicKey = createPublicKey({ key: jwk, format: 'jwk' });
    const secrets = [
      publicKey.export({ format: 'pem', type: 'spki' }),
      publicKey.export({ format: 'der', type: 'spki' }),
      JSON.stringify(jwk),
    ];
    for (const secret of secrets) {
      const input = `${encode({ alg: 'HS256', typ: 'at+jwt', kid: keys.signing.kid })}.${encode(good())}`;
      expect(await refusal(`${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`)).toBe(
        'token.algorithm',
      );
    }
  });

  test('with a key of its own in the header', async () => {
    const other = await readTokenKeys(await generateTokenKeys());
    const jwk = (JSON.parse(other.jwks) as { keys: Record<string, unknown>[] }).keys[0]!;
    const token = await new CompactSign(Buffer.from(JSON.stringify(good())))
      .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', jwk })
      .sign(other.signing.key);
    expect(await refusal(token)).toBe('token.unknown_key');
  });

  test('with a signature by another key under the kid of ours', async () => {
    const other = await readTokenKeys(await generateTokenKeys());
    const token = await new SignJWT(good())
      .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: keys.signing.kid })
      .sign(other.signing.key);
    expect(await refusal(token)).toBe('token.signature');
  });

  test('with a signature in DER instead of r and s', async () => {
    const jwk = (JSON.parse(json) as { keys: JsonWebKey[] }).keys[0]!;
    const input = `${encode({ alg: 'ES256', typ: 'at+jwt', kid: keys.signing.kid })}.${encode(good())}`;
    const der = sign('sha256', Buffer.from(input), { key: jwk, format: 'jwk', dsaEncoding: 'der' } as never);
    expect(await refusal(`${input}.${der.toString('base64url')}`)).toBe('token.signature');
  });

  test.each(['exp', 'iat', 'sub', 'jti', 'session', 'auth_time', 'iss', 'aud'])('without %s', async (claim) => {
    expect(await refusal(await signed(without(claim)))).toMatch(
      claim === 'iss' ? 'token.issuer' : claim === 'aud' ? 'token.audience' : 'token.claims',
    );
  });

  test('of another audience, another issuer, another type', async () => {
    expect(await refusal(await signed({ ...good(), aud: 'attestor' }))).toBe('token.audience');
    expect(await refusal(await signed({ ...good(), iss: 'https://other.test' }))).toBe('token.issuer');
    expect(await refusal(await signed({ ...good(), iss: `http://${trustDomain}` }))).toBe('token.issuer');
    for (const typ of ['JWT', 'rt+jwt', 'sls-workload+jwt', 'id+jwt', '']) {
      expect(await refusal(await signed(good(), { typ }))).toBe('token.type');
    }
    expect(await refusal(await signed(good(), { typ: undefined }))).toBe('token.type');
  });

  test('with a life longer than ours, whatever exp says', async () => {
    const old = { ...good(), iat: seconds - 3600, exp: seconds + 3600 };
    expect(await refusal(await signed(old))).toBe('token.expired');
  });

  test('with a critical extension that nobody knows', async () => {
    const jwk = (JSON.parse(json) as { keys: Record<string, unknown>[] }).keys[0]!;
    const token = await new CompactSign(Buffer.from(JSON.stringify(good())))
      .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: keys.signing.kid, crit: ['x'], x: 1 })
      .sign(await importJWK(jwk, 'ES256'), { crit: { x: true } });
    expect(await refusal(token)).toBe('token.malformed');
  });

  test('when its subject or session is no id', async () => {
    for (const changes of [{ sub: '../x' }, { sub: '' }, { session: 'a/b' }, { sub: 7 }]) {
      expect(await refusal(await signed({ ...good(), ...changes }))).toBe('token.claims');
    }
  });

  test('with a typed error, whatever its text is', async () => {
    const { token } = await issueAccessToken(keys, { user, session, authenticatedAt: seconds }, context);
    expect(await refusal('')).toBe('token.malformed');
    expect(await refusal(`${token}${'x'.repeat(5000)}`)).toBe('token.malformed');
    await fc.assert(
      fc.asyncProperty(fc.string(), async (text) => expect(await refusal(text)).toMatch(/^token\./)),
      { numRuns: 200 },
    );
    await fc.assert(
      fc.asyncProperty(fc.nat(token.length - 2), fc.constantFrom(...'ABab01-_.='), async (at, letter) => {
        const changed = token.slice(0, at) + letter + token.slice(at + 1);
        expect(await refusal(changed)).toMatch(changed === token ? /^accepted$/ : /^token\./);
      }),
      { numRuns: 500 },
    );
  });
});

describe('a key file is refused', () => {
  test('when it holds no private P-256 keys, and the reason holds no key', async () => {
    const jwk = (JSON.parse(json) as { keys: Record<string, string>[] }).keys[0]!;
    const { d, ...half } = jwk;
    const sets = [
      '',
      'not json',
      '{}',
      '{"keys":[]}',
      { keys: [half] },
      { keys: [{ ...jwk, crv: 'P-384' }] },
      { keys: [{ ...jwk, alg: 'HS256' }] },
      { keys: [jwk, jwk] },
      { keys: [{ ...jwk, x: 'AAAA' }] },
    ];
    for (const set of sets) {
      const error: Error = await readTokenKeys(typeof set === 'string' ? set : JSON.stringify(set)).then(
        () => new Error('accepted'),
        (refused: Error) => refused,
      );
      expect(error).toMatchObject({ code: 'token.keys_invalid' });
      expect(error.message).not.toContain(d);
    }
  });
});
