import { CompactSign, importJWK } from 'jose';
import type { CryptoKey } from 'jose';
import {
  checkRevocations,
  readRevocations,
  REVOCATIONS_SECONDS,
  signRevocations,
} from '../../../attestation/trust/revocations';
import { makeSigningKey } from '../../support/trust';
import type { TestSigningKey } from '../../support/trust';
import { longest } from '../../support/longest';

const AK = 'aa'.repeat(32);
const EK = 'ee'.repeat(32);
const NOBODY = { nodes: [], aks: [], eks: [], users: [], trustSequence: 3 };
const NOW = new Date('2030-01-01T00:00:00Z');
const after = (seconds: number): Date => new Date(NOW.getTime() + seconds * 1000);

let key: TestSigningKey;
beforeAll(() => void (key = makeSigningKey('revocation-1')));

async function list(content: Partial<typeof NOBODY> = {}, signer = key, now = NOW): Promise<string> {
  return signRevocations(
    { ...NOBODY, ...content },
    { kid: signer.publicKey.kid, key: (await importJWK(signer.privateKey, 'ES256')) as CryptoKey },
    now,
  );
}

test('a list is read as it was signed', async () => {
  const read = await readRevocations(await list({ users: ['u'] } as never), [key.publicKey], NOW);
  expect(read).toMatchObject({ nodes: [], users: ['u'], trustSequence: 3 });
});

test('while the key is rotated, lists by both keys are taken', async () => {
  const next = makeSigningKey('revocation-2');
  const keys = [next.publicKey, key.publicKey];
  await readRevocations(await list({}, next), keys, NOW);
  await readRevocations(await list({}, key), keys, NOW);
});

test.each([undefined, ''])('no list at all is refused (%p)', async (none) => {
  await expect(readRevocations(none, [key.publicKey], NOW)).toRejectWithCode('revocation.missing');
});

test('a list by a key that the trust bundle does not name is refused', async () => {
  const refused = readRevocations(await list({}, makeSigningKey('other')), [key.publicKey], NOW);
  await expect(refused).toRejectWithCode('revocation.signature');
  await expect(refused).rejects.toThrow('got another key');
});

test('a list by another key under the name of the right one is refused', async () => {
  await expect(readRevocations(await list({}, makeSigningKey('revocation-1')), [key.publicKey], NOW)).toRejectWithCode(
    'revocation.signature',
  );
});

test('a list from which an entry was taken is refused', async () => {
  const [header, payload, signature] = (await list({ nodes: ['node-a'] } as never)).split('.');
  const changed = { ...(JSON.parse(Buffer.from(payload ?? '', 'base64url').toString()) as object), nodes: [] };
  const text = `${header}.${Buffer.from(JSON.stringify(changed)).toString('base64url')}.${signature}`;
  await expect(readRevocations(text, [key.publicKey], NOW)).toRejectWithCode('revocation.signature');
});

describe('signed, but', () => {
  const iat = NOW.getTime() / 1000;
  const fields = { ...NOBODY, iat, exp: iat + REVOCATIONS_SECONDS };
  const signed = async (payload: object, spaces = 0, more = 0): Promise<string> =>
    new CompactSign(Buffer.from(`${JSON.stringify(payload)}${' '.repeat(spaces)}`))
      .setProtectedHeader({ alg: 'ES256', typ: 'sls-revocations+jwt', kid: 'revocation-1', cty: 'x'.repeat(more) })
      .sign(await importJWK(key.privateKey, 'ES256'));
  const read = (jws: string): Promise<unknown> => readRevocations(jws, [key.publicKey], NOW);

  test.each<[string, object]>([
    ['a short hash', { aks: ['aa'] }],
    ['a hash with something before it', { aks: [`0x${AK}`] }],
    ['a hash with something behind it', { eks: [`${EK}00`] }],
    ['a hash in capitals, which would match nothing', { aks: [AK.toUpperCase()] }],
    ['something critical that it does not have', { critical: ['models'] }],
    ['nothing in what is critical', { critical: [] }],
    ['half a second', { iat: iat - 0.5 }],
    ['half a second at its end', { exp: iat + 0.5 }],
    ['half a sequence', { trustSequence: 0.5 }],
    ['a sequence below 0', { trustSequence: -1 }],
    ['no sequence', { trustSequence: undefined }],
  ])('with %s', async (_, change) => {
    await read(await signed(fields));
    await expect(read(await signed({ ...fields, ...change }))).toRejectWithCode('revocation.malformed');
  });

  test('with what a newer release revokes: it is passed over, unless it is critical', async () => {
    expect(await read(await signed({ ...fields, models: ['x'] }))).toEqual({ ...fields, sessions: [] });
    expect(await read(await signed({ ...fields, critical: ['nodes'] }))).toMatchObject(fields);
    const critical = read(await signed({ ...fields, models: ['x'], critical: ['models'] }));
    await expect(critical).toRejectWithCode('revocation.newer_release');
    await expect(critical).rejects.toThrow('needs a newer release, which knows models');
  });

  test('for longer than a list lives', async () => {
    await expect(read(await signed({ ...fields, exp: fields.exp + 1 }))).toRejectWithCode('revocation.stale');
  });

  test('longer than any list: the longest is taken, a character more is not', async () => {
    const lists = await longest(768 * 1024, (spaces, header) => signed(fields, spaces, header));
    await read(lists.longest);
    await expect(read(lists.longer)).toRejectWithCode('revocation.malformed');
  });
});

test.each(['x', 'a.b.c', 'y'.repeat(800_000)])('what is no list is refused (%#)', async (text) => {
  await expect(readRevocations(text, [key.publicKey], NOW)).toRejectWithCode('revocation.malformed');
});

describe('by the time of the list', () => {
  test.each([
    ['at once', 0],
    ['just before it ends', REVOCATIONS_SECONDS - 1],
    ['by a client whose clock is a minute behind', -60],
  ])('a list is taken %s', async (_, seconds) => {
    await readRevocations(await list(), [key.publicKey], after(seconds));
  });

  test.each([
    ['a minute old', REVOCATIONS_SECONDS],
    ['of yesterday', 86_400],
    ['of the future', -61],
  ])('a list %s is refused: it may be an old one that is shown again', async (_, seconds) => {
    await expect(readRevocations(await list(), [key.publicKey], after(seconds))).toRejectWithCode('revocation.stale');
  });
});

describe('what stands in the list is refused', () => {
  const subject = { node: 'node-a', akSha256: AK, ekSha256: EK, user: 'user-1' };
  test.each<['node' | 'ak' | 'ek' | 'user' | 'session', object]>([
    ['node', { nodes: ['node-b', 'node-a'] }],
    ['ak', { aks: [AK] }],
    ['ek', { eks: [EK] }],
    ['user', { users: ['user-1'] }],
    ['session', { sessions: ['session-2', 'session-1'] }],
  ])('%s', (what, revoked) => {
    const own = { ...subject, session: 'session-1' };
    expect(() => checkRevocations({ ...NOBODY, ...revoked }, own)).toThrowWithCode(`revocation.${what}`);
  });

  test('and nothing else is', () => {
    expect(() =>
      checkRevocations({ nodes: ['node-aa'], aks: [EK], eks: [AK], users: ['user-11'] }, subject),
    ).not.toThrow();
    const others = { ...NOBODY, sessions: ['session-11'] };
    for (const session of ['session-1', undefined])
      expect(() => checkRevocations(others, { ...subject, session })).not.toThrow();
  });
});
