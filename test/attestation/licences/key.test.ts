import { createHmac, createPublicKey, randomUUID, sign } from 'node:crypto';
import type { JsonWebKey } from 'node:crypto';
import fc from 'fast-check';
import type { JWK } from 'jose';
import { CompactSign, SignJWT } from 'jose';
import { LicenceKeyError, LICENCE_TYPE, verifyLicenceKey } from '../../../attestation/licences/key';
import type { LicenceTerms } from '../../../attestation/licences/key';
import { ACCESS_TOKEN_TYPE } from '../../../licensing/tokens/access-token';
import { generateTokenKeys, readTokenKeys } from '../../../licensing/tokens/keys';
import type { TokenKeys } from '../../../licensing/tokens/keys';
import { signLicenceKey } from '../../../licensing/licences/sign-key';

const trustDomain = 'sls.test';
const now = new Date('2026-11-25T10:00:00Z');
const seconds = now.getTime() / 1000;
const context = { trustDomain, now };
const terms: LicenceTerms = {
  licence: 'b7d3a1c8-0000-4000-8000-000000000001',
  plan: { name: 'team', images: [`sha256:${'a'.repeat(64)}`], enclaves: 2, seats: 3, cpu: '500m', memory: '2Gi' },
  until: new Date('2027-11-25T10:00:00Z'),
  graceDays: 14,
  accounts: 5,
};

let json: string;
let keys: TokenKeys;
let published: JWK[];

beforeAll(async () => {
  json = await generateTokenKeys();
  keys = await readTokenKeys(json);
  published = (JSON.parse(keys.jwks) as { keys: JWK[] }).keys;
});

async function refusal(
  text: string,
  at: { trustDomain: string; now: Date } = context,
  by: readonly JWK[] = published,
): Promise<string> {
  try {
    await verifyLicenceKey(by, text, at);
  } catch (error) {
    if (error instanceof LicenceKeyError) return error.code;
    throw error;
  }
  return 'accepted';
}

const good = (): Record<string, unknown> => ({
  iss: `https://${trustDomain}`,
  aud: 'sls-licence',
  jti: randomUUID(),
  iat: seconds,
  exp: seconds + 900,
  plan: { name: 'team', enclaves: 1, seats: 1 },
  grace_days: 0,
  accounts: 1,
});

/** Signed by our own key: only the claims and the header are another's. */
function signed(claims: Record<string, unknown>, header: Record<string, unknown> = {}): Promise<string> {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: 'ES256', typ: LICENCE_TYPE, kid: keys.signing.kid, ...header })
    .sign(keys.signing.key);
}

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const header = (change: object = {}): string =>
  encode({ alg: 'ES256', typ: LICENCE_TYPE, kid: keys.signing.kid, ...change });

describe('a licence key', () => {
  test('says what was issued, to anyone who has the published keys', async () => {
    const key = await signLicenceKey(keys.signing, terms, context);
    expect(await verifyLicenceKey(published, key, context)).toEqual(terms);
  });

  test('with all that a plan can hold is short enough to be verified', async () => {
    const images = Array.from({ length: 32 }, (_, index) => `sha256:${String(index).padStart(64, '0')}`);
    const key = await signLicenceKey(
      keys.signing,
      { ...terms, plan: { ...terms.plan, name: 'x'.repeat(64), images } },
      context,
    );
    expect((await verifyLicenceKey(published, key, context)).plan.images).toEqual(images);
  });

  test('can be redeemed until its end', async () => {
    const key = await signLicenceKey(keys.signing, terms, context);
    const at = (offset: number): { trustDomain: string; now: Date } => ({
      trustDomain,
      now: new Date(terms.until.getTime() + offset * 1000),
    });
    expect(await refusal(key, at(-1))).toBe('accepted');
    expect(await refusal(key, at(6))).toBe('licence.expired');
    expect(await refusal(key, { trustDomain, now: new Date(now.getTime() - 60_000) })).toBe('licence.not_yet_valid');
  });

  test('of the key before is good while both are published, and no longer when the key is gone', async () => {
    const key = await signLicenceKey(keys.signing, terms, context);
    const fresh = (JSON.parse((await readTokenKeys(await generateTokenKeys())).jwks) as { keys: JWK[] }).keys;
    expect(await refusal(key, context, [...fresh, ...published])).toBe('accepted');
    expect(await refusal(key, context, fresh)).toBe('licence.unknown_key');
    expect(await refusal(key, context, [])).toBe('licence.unknown_key');
  });
});

describe('a licence key is refused', () => {
  test('with alg none', async () => {
    for (const alg of ['none', 'None', 'NONE', '']) {
      expect(await refusal(`${header({ alg })}.${encode(good())}.`)).toMatch(/^licence\.(algorithm|malformed)$/);
    }
  });

  test('with HS256 and the public key as the secret', async () => {
    const jwk = published[0] as JsonWebKey;
    const publicKey = createPublicKey({ key: jwk, format: 'jwk' });
    const secrets = [
      publicKey.export({ format: 'pem', type: 'spki' }),
      publicKey.export({ format: 'der', type: 'spki' }),
      JSON.stringify(jwk),
    ];
    for (const secret of secrets) {
      const input = `${header({ alg: 'HS256' })}.${encode(good())}`;
      expect(await refusal(`${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`)).toBe(
        'licence.algorithm',
      );
    }
  });

  test('signed by another key, under the kid of ours, under its own, or with the key in the header', async () => {
    const other = await readTokenKeys(await generateTokenKeys());
    const jwk = (JSON.parse(other.jwks) as { keys: Record<string, unknown>[] }).keys[0]!;
    const forge = (change: object): Promise<string> =>
      new CompactSign(Buffer.from(JSON.stringify(good())))
        .setProtectedHeader({ alg: 'ES256', typ: LICENCE_TYPE, ...change })
        .sign(other.signing.key);
    expect(await refusal(await forge({ kid: keys.signing.kid }))).toBe('licence.signature');
    expect(await refusal(await forge({ kid: other.signing.kid }))).toBe('licence.unknown_key');
    expect(await refusal(await forge({ jwk }))).toBe('licence.unknown_key');
  });

  test('with a signature in DER instead of r and s', async () => {
    const input = `${header()}.${encode(good())}`;
    const jwk = (JSON.parse(json) as { keys: JsonWebKey[] }).keys[0]!;
    const der = sign('sha256', Buffer.from(input), { key: jwk, format: 'jwk', dsaEncoding: 'der' } as never);
    expect(await refusal(`${input}.${der.toString('base64url')}`)).toBe('licence.signature');
  });

  test('with a plan that was changed after it was signed', async () => {
    const [head, body, signature] = (await signLicenceKey(keys.signing, terms, context)).split('.');
    const claims = JSON.parse(Buffer.from(body!, 'base64url').toString()) as { plan: { seats: number } };
    claims.plan.seats = 1000;
    expect(await refusal(`${head}.${encode(claims)}.${signature}`)).toBe('licence.signature');
  });

  test('of another type, such as an access token, of another audience or another installation', async () => {
    for (const typ of ['JWT', ACCESS_TOKEN_TYPE, 'sls-admin+jwt', 'sls-trust-bundle+jwt', undefined])
      expect(await refusal(await signed(good(), { typ }))).toBe('licence.type');
    for (const aud of ['sls', 'attestor', undefined])
      expect(await refusal(await signed({ ...good(), aud }))).toBe('licence.audience');
    for (const iss of ['https://other.test', `http://${trustDomain}`, undefined])
      expect(await refusal(await signed({ ...good(), iss }))).toBe('licence.issuer');
  });

  test.each(['jti', 'iat', 'exp', 'plan', 'grace_days', 'accounts'])('without %s', async (claim) => {
    expect(await refusal(await signed({ ...good(), [claim]: undefined }))).toBe('licence.claims');
  });

  test.each([
    ['an id that is none', { jti: '../x' }],
    ['no seats', { plan: { name: 'a', enclaves: 1, seats: 0 } }],
    ['part of a seat', { plan: { name: 'a', enclaves: 1, seats: 1.5 } }],
    ['something critical that it does not have', { critical: ['plan.root'] }],
    ['nothing in what is critical', { critical: [] }],
    ['an image by tag', { plan: { name: 'a', enclaves: 1, seats: 1, images: ['enclave:latest'] } }],
    ['no images at all', { plan: { name: 'a', enclaves: 1, seats: 1, images: [] } }],
    ['CPU that is none', { plan: { name: 'a', enclaves: 1, seats: 1, cpu: '0' } }],
    ['memory without a unit', { plan: { name: 'a', enclaves: 1, seats: 1, memory: '512' } }],
    ['accounts in words', { accounts: 'many' }],
    ['no accounts', { accounts: 0 }],
    ['part of an account', { accounts: 1.5 }],
    ['part of a day of grace', { grace_days: 0.5 }],
    ['a beginning between two seconds', { iat: seconds + 0.5 }],
    ['an end between two seconds', { exp: seconds + 900.5 }],
    ['an end beyond all dates', { exp: 8_640_000_000_001 }],
    ['a beginning in words', { nbf: 'now' }],
    ['grace before the end', { grace_days: -1 }],
  ])('with %s', async (_, change) => {
    expect(await refusal(await signed({ ...good(), ...change }))).toBe('licence.claims');
  });

  test('before it begins, by more than clocks may differ', async () => {
    expect(await refusal(await signed({ ...good(), iat: seconds + 5 }))).toBe('accepted');
    expect(await refusal(await signed({ ...good(), iat: seconds + 6 }))).toBe('licence.not_yet_valid');
    expect(await refusal(await signed({ ...good(), nbf: seconds + 60 }))).toBe('licence.not_yet_valid');
  });

  test('when it is longer than is read', async () => {
    // A header of each length, because base64 skips one in four.
    const sized = async (length: number): Promise<string> => {
      for (let more = 0; ; more++) {
        const claims = { ...good(), more: 'm'.repeat(more % 4) };
        const rest = (await signed(claims, { pad: '' })).length;
        const key = await signed(claims, { pad: 'p'.repeat(Math.ceil(((length - rest) * 3) / 4) - (more >> 2)) });
        if (key.length === length) return key;
      }
    };
    expect(await refusal(await sized(8192))).toBe('accepted');
    expect(await refusal(await sized(8193))).toBe('licence.malformed');
  });

  test('when it has expired, with its end in the message', async () => {
    const key = await signed({ ...good(), iat: seconds - 100, exp: seconds - 60 });
    await expect(verifyLicenceKey(published, key, context)).toRejectWithCode('licence.expired', {
      message: 'the licence expired at 2026-11-25T09:59:00.000Z',
    });
  });

  test('with a typed error, whatever its text is', async () => {
    const key = await signLicenceKey(keys.signing, terms, context);
    for (const text of ['', 'x', 'a.b.c', `${key}${'x'.repeat(9000)}`])
      expect(await refusal(text)).toBe('licence.malformed');
    await fc.assert(
      fc.asyncProperty(fc.string(), async (text) => expect(await refusal(text)).toMatch(/^licence\./)),
      { numRuns: 200 },
    );
    await fc.assert(
      fc.asyncProperty(fc.nat(key.length - 2), fc.constantFrom(...'ABab01-_.='), async (at, letter) => {
        const changed = key.slice(0, at) + letter + key.slice(at + 1);
        expect(await refusal(changed)).toMatch(changed === key ? /^accepted$/ : /^licence\./);
      }),
      { numRuns: 300 },
    );
  });
});
