import { randomUUID } from 'node:crypto';
import { generateSecondFactorKeys, readSecondFactorKeys } from '../../../licensing/second-factor/keys';
import { newRecoveryCodes, recoveryCodeHash } from '../../../licensing/second-factor/recovery-codes';
import { base32, hotp, newTotpSecret, stepOf, totpUri } from '../../../licensing/second-factor/totp';

const secret = Buffer.from('12345678901234567890');

test('HOTP: the values of RFC 4226, appendix D', () => {
  const values = ['755224', '287082', '359152', '969429', '338314', '254676', '287922', '162583', '399871', '520489'];
  expect(values.map((_, counter) => hotp(secret, counter))).toEqual(values);
});

test.each([
  [59, '94287082'],
  [1_111_111_109, '07081804'],
  [1_111_111_111, '14050471'],
  [1_234_567_890, '89005924'],
  [2_000_000_000, '69279037'],
  [20_000_000_000, '65353130'],
])('TOTP: the values of RFC 6238, appendix B, for SHA-1: at %d', (seconds, value) => {
  const step = Math.floor(seconds / 30);
  expect(hotp(secret, step, 8)).toBe(value);
  expect(stepOf(secret, value.slice(2), new Date(seconds * 1000))).toBe(step);
});

test('a code is right in its half minute, the one before and the one after, and in no other', () => {
  const step = 50_000_000;
  const code = hotp(secret, step);
  const at = (seconds: number): number | undefined => stepOf(secret, code, new Date((step * 30 + seconds) * 1000));
  for (const seconds of [-30, -1, 0, 15, 29, 59]) expect(at(seconds)).toBe(step);
  for (const seconds of [-31, 60, 3600]) expect(at(seconds)).toBeUndefined();
});

test.each(['', '1', '12345', '1234567', '755224\0', '７５５２２４', 'abcdef', '-55224', '7.5e5'])(
  '%j is no code',
  (text) => {
    expect(stepOf(secret, text, new Date(30_000))).toBeUndefined();
    expect(stepOf(secret, '755224', new Date(30_000))).toBe(0);
  },
);

test.each([
  ['', ''],
  ['f', 'MY'],
  ['fo', 'MZXQ'],
  ['foo', 'MZXW6'],
  ['foob', 'MZXW6YQ'],
  ['fooba', 'MZXW6YTB'],
  ['foobar', 'MZXW6YTBOI'],
])('Base32 of %j (RFC 4648, 10, without padding)', (text, encoded) => {
  expect(base32(Buffer.from(text))).toBe(encoded);
});

test('secrets are 160 bits, all different, and stand in the URI with names that can hold nothing else', () => {
  const secrets = new Set(Array.from({ length: 1000 }, () => base32(newTotpSecret())));
  expect(secrets.size).toBe(1000);
  for (const text of secrets) expect(text).toMatch(/^[A-Z2-7]{32}$/);
  const uri = new URL(totpUri(secret, { issuer: 'sls.test', account: 'ada?secret=x&' }));
  expect(decodeURIComponent(uri.pathname)).toBe('/sls.test:ada?secret=x&');
  expect([...uri.searchParams]).toEqual([
    ['secret', 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ'],
    ['issuer', 'sls.test'],
  ]);
});

test('recovery codes are 80 bits, all different, and are known however they are typed', () => {
  const codes = Array.from({ length: 100 }, newRecoveryCodes).flat();
  expect(new Set(codes).size).toBe(1000);
  for (const code of codes) expect(code).toMatch(/^([a-z2-7]{4}-){3}[a-z2-7]{4}$/);
  const [code] = codes as [string];
  for (const typed of [code.toUpperCase(), code.replaceAll('-', ''), ` ${code.replaceAll('-', ' ')} `])
    expect(recoveryCodeHash(typed)).toEqual(recoveryCodeHash(code));
  for (const other of ['', '755224', code.slice(1), `${code}a`, code.replace(/./, '1')])
    expect(recoveryCodeHash(other)).toBeUndefined();
});

describe('what is stored of a secret', () => {
  const user = randomUUID();

  test('says nothing, and opens by the key alone, for its own user', async () => {
    const keys = readSecondFactorKeys(generateSecondFactorKeys());
    const sealed = await keys.seal(user, secret);
    expect(await keys.open(user, sealed)).toEqual(secret);
    expect(await keys.seal(user, secret)).not.toBe(sealed);
    for (const part of sealed.split('.')) expect(Buffer.from(part, 'base64url').includes(secret)).toBe(false);
    await expect(keys.open(randomUUID(), sealed)).rejects.toThrow("another user's");
    await expect(readSecondFactorKeys(generateSecondFactorKeys()).open(user, sealed)).rejects.toThrow(
      'a key that is not there',
    );
    const [header, key, iv, text, tag] = sealed.split('.') as [string, string, string, string, string];
    const flipped = `${text.startsWith('A') ? 'B' : 'A'}${text.slice(1)}`;
    await expect(keys.open(user, [header, key, iv, flipped, tag].join('.'))).rejects.toThrow();
  });

  test('of the key before opens while that key is in the set, behind the new one', async () => {
    const [before, after] = [generateSecondFactorKeys(), generateSecondFactorKeys()];
    const sealed = await readSecondFactorKeys(before).seal(user, secret);
    const both = readSecondFactorKeys(
      JSON.stringify({ keys: [after, before].flatMap((json) => (JSON.parse(json) as { keys: unknown[] }).keys) }),
    );
    expect(await both.open(user, sealed)).toEqual(secret);
    await expect(readSecondFactorKeys(before).open(user, await both.seal(user, secret))).rejects.toThrow();
  });

  test.each([
    '',
    '{}',
    '{"keys":[]}',
    '{"keys":[{"kty":"oct","k":"c2hvcnQ","kid":"a"}]}',
    '{"keys":[{"kty":"EC","kid":"a"}]}',
  ])('a key file %j is refused without a word of it', (json) => {
    expect(() => readSecondFactorKeys(json)).toThrow(
      expect.objectContaining({
        code: 'second_factor.keys_invalid',
        message: expect.not.stringContaining('c2hvcnQ') as string,
      }),
    );
  });
});
