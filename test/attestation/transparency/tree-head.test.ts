import { CompactSign, generateKeyPair, importJWK } from 'jose';
import type { CryptoKey } from 'jose';
import {
  headerOf,
  keysByName,
  readTreeHead,
  signTreeHead,
  TREE_HEAD_SECONDS,
  TREE_HEAD_TYPE,
} from '../../../attestation/transparency/tree-head';
import { longest } from '../../support/longest';
import { makeSigningKey } from '../../support/trust';
import { ROOTS } from './vectors';

const NOW = new Date('2026-03-01T12:00:00.000Z');
const HEAD = { size: 8, root: ROOTS[8]!, at: NOW };
const ours = makeSigningKey('log-1');
const next = makeSigningKey('log-2');
const checks = { keyOf: keysByName([ours.publicKey, next.publicKey]), trustDomain: 'sls.test', now: NOW };

async function signer({ privateKey }: typeof ours): Promise<{ kid: string; key: CryptoKey }> {
  return { kid: privateKey.kid, key: (await importJWK(privateKey, 'ES256')) as CryptoKey };
}

const sign = async (head = HEAD, key = ours, trustDomain = 'sls.test'): Promise<string> =>
  signTreeHead(head, await signer(key), trustDomain);

/** Signed by the log's own key, whatever it says. */
async function signAnything(payload: string | object, header: Record<string, unknown> = {}): Promise<string> {
  const text = typeof payload === 'string' ? payload : JSON.stringify(payload);
  return new CompactSign(Buffer.from(text))
    .setProtectedHeader({ alg: 'ES256', typ: TREE_HEAD_TYPE, kid: 'log-1', ...header })
    .sign((await signer(ours)).key);
}

const FIELDS = { iss: 'sls.test', iat: NOW.getTime() / 1000, size: 8, root: ROOTS[8]!.toString('hex') };

test('a head says what was signed, by any key of the bundle', async () => {
  expect(await readTreeHead(await sign(), checks)).toEqual(HEAD);
  expect(await readTreeHead(await sign(HEAD, next), checks)).toEqual(HEAD);
  expect(headerOf(await sign(HEAD, next))).toEqual({ kid: 'log-2' });
  expect(await readTreeHead(await signAnything(FIELDS), checks)).toEqual(HEAD);
  expect(await readTreeHead(await signAnything({ ...FIELDS, also: 1 }), checks)).toEqual(HEAD);
});

describe('refused', () => {
  const refused = (jws: string, code: string, own: Partial<typeof checks> = {}): Promise<void> =>
    expect(readTreeHead(jws, { ...checks, ...own })).rejects.toMatchObject({ name: 'LogError', code });

  test('a head by another key, whatever name the key gives itself', async () => {
    const stranger = await sign(HEAD, makeSigningKey('stranger'));
    await refused(stranger, 'log.head_signature');
    await expect(readTreeHead(stranger, checks)).rejects.toThrow('got another key');
    await refused(await sign(HEAD, makeSigningKey('log-1')), 'log.head_signature');
    await refused(await sign(), 'log.head_signature', { keyOf: keysByName([]) });
  });

  test('a head of which one character was changed, wherever it is', async () => {
    const jws = await sign();
    for (let at = 0; at < jws.length; at += 7) {
      const changed = `${jws.slice(0, at)}${jws[at] === 'A' ? 'B' : 'A'}${jws.slice(at + 1)}`;
      await expect(readTreeHead(changed, checks)).rejects.toMatchObject({ name: 'LogError' });
    }
  });

  test('the signature of one head under another', async () => {
    const [[header, , signature], [, payload]] = [
      (await sign()).split('.'),
      (await sign({ ...HEAD, size: 9 })).split('.'),
    ] as [string[], string[]];
    await refused([header, payload, signature].join('.'), 'log.head_signature');
  });

  test('another algorithm, also none and one that takes the public key for a secret', async () => {
    const { publicKey, privateKey } = await generateKeyPair('ES384');
    const stronger = await new CompactSign(Buffer.from(JSON.stringify(FIELDS)))
      .setProtectedHeader({ alg: 'ES384', typ: TREE_HEAD_TYPE, kid: 'log-1' })
      .sign(privateKey);
    await refused(stronger, 'log.head_signature', { keyOf: () => publicKey });
    const secret = Buffer.from(JSON.stringify(ours.publicKey));
    const mac = await new CompactSign(Buffer.from(JSON.stringify(FIELDS)))
      .setProtectedHeader({ alg: 'HS256', typ: TREE_HEAD_TYPE, kid: 'log-1' })
      .sign(secret);
    await refused(mac, 'log.head_signature');
    const [, payload] = (await sign()).split('.');
    const none = Buffer.from(JSON.stringify({ alg: 'none', typ: TREE_HEAD_TYPE, kid: 'log-1' })).toString('base64url');
    await refused(`${none}.${payload}.`, 'log.head_signature');
  });

  test("another installation's head, signed by a key that both have", async () => {
    await refused(await sign(HEAD, ours, 'other.test'), 'log.head_malformed');
  });

  test('what the same key signed for another purpose', async () => {
    await refused(await signAnything(FIELDS, { typ: 'sls-revocations+jwt' }), 'log.head_malformed');
    await refused(await signAnything(FIELDS, { typ: undefined }), 'log.head_malformed');
    await refused(await signAnything(FIELDS, { kid: undefined }), 'log.head_malformed');
  });

  test.each([
    ['no JSON', 'size=8'],
    ['no object', '8'],
    ['no size', { ...FIELDS, size: undefined }],
    ['half a record', { ...FIELDS, size: 8.5 }],
    ['less than nothing', { ...FIELDS, size: -1 }],
    ['a size past what a number holds', { ...FIELDS, size: 2 ** 60 }],
    ['a size as text', { ...FIELDS, size: '8' }],
    ['a short root', { ...FIELDS, root: 'abcd' }],
    ['a root with something before it', { ...FIELDS, root: `0x${FIELDS.root}` }],
    ['a root with something behind it', { ...FIELDS, root: `${FIELDS.root}00` }],
    ['half a second', { ...FIELDS, iat: FIELDS.iat - 0.5 }],
    ['a root in capitals: one head has one form', { ...FIELDS, root: FIELDS.root.toUpperCase() }],
    ['a time as text', { ...FIELDS, iat: '2026' }],
    ['something critical that it does not have', { ...FIELDS, critical: ['also'] }],
    ['nothing in what is critical', { ...FIELDS, critical: [] }],
  ])('signed, but with %s', async (_name, payload) => refused(await signAnything(payload), 'log.head_malformed'));

  test('by what is critical in it and not known: a newer release reads it', async () => {
    await refused(await signAnything({ ...FIELDS, also: 1, critical: ['also'] }), 'log.head_newer_release');
  });

  test.each(['', 'a', 'a.b.c', '..', '\0', '{}'])('%j', (text) => refused(text, 'log.head_malformed'));

  test('a text that is longer than any head: the longest is taken, a character more is not', async () => {
    await refused(await signAnything(FIELDS, { also: 'A'.repeat(5000) }), 'log.head_malformed');
    const heads = await longest(4096, (spaces, header) =>
      signAnything(`${JSON.stringify(FIELDS)}${' '.repeat(spaces)}`, { cty: 'x'.repeat(header) }),
    );
    expect(await readTreeHead(heads.longest, checks)).toEqual(HEAD);
    await refused(heads.longer, 'log.head_malformed');
  });

  test('a head of long ago, and one of the future', async () => {
    const seconds = (count: number): Date => new Date(NOW.getTime() + count * 1000);
    await refused(await sign(), 'log.head_stale', { now: seconds(TREE_HEAD_SECONDS + 1) });
    await refused(await sign(), 'log.head_stale', { now: seconds(-61) });
    expect(await readTreeHead(await sign(), { ...checks, now: seconds(TREE_HEAD_SECONDS) })).toEqual(HEAD);
    expect(await readTreeHead(await sign(), { ...checks, now: seconds(-60) })).toEqual(HEAD);
    expect(await readTreeHead(await sign(), { ...checks, now: undefined })).toEqual(HEAD);
  });
});
