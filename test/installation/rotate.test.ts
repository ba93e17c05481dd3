import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CompactSign, decodeJwt, importJWK } from 'jose';
import type { JWK } from 'jose';
import { createAuthority } from '../../licensing/authority/authority';
import { splitCertificates } from '../../attestation/certificates/pem';
import { FolderKeyStore } from '../../installation/folder';
import { rotate, ROTATIONS } from '../../installation/rotate';
import type { Rotation } from '../../installation/rotate';
import { readRequiredKey } from '../../installation/store';
import { createTrustKeys, publishTrustBundle, readPublishedTrust } from '../../installation/trust';
import { generateTokenKeys, readTokenKeys } from '../../licensing/tokens/keys';
import { readSignedBundle, signTrustBundle, TRUST_BUNDLE_TYPE } from '../../attestation/trust/signed-bundle';
import { makeSigningKey } from '../support/trust';
import { readAuthorities, signingAuthority } from '../../licensing/authority/rotating';

const trustDomain = 'sls.test';
const T0 = new Date('2030-01-01T00:00:00Z');
const at = (seconds: number): Date => new Date(T0.getTime() + seconds * 1000);

let folder: string;
let store: FolderKeyStore;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sls-keystore-'));
  store = new FolderKeyStore(folder);
  for (const name of ['client-ca', 'attestation-ca', 'server-ca'] as const) {
    const { certificate, privateKey } = await createAuthority({
      commonName: name,
      trustDomain,
      years: 10,
      now: at(-86_400),
    });
    await store.write([[`${name}.crt`, certificate]]);
    if (name !== 'server-ca') await store.write([[`${name}.key`, privateKey]]);
  }
  await store.write([['token-keys.json', await generateTokenKeys()]]);
  await createTrustKeys(store, { trustDomain });
  await publishTrustBundle(store, {
    trustDomain,
    services: { signup: 'http://a:1', login: 'http://b:1' },
    policy: { softwareTpm: 'refuse' },
  });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const bundle = async () => readSignedBundle(await readRequiredKey(store, 'trust-bundle.jws'));

describe.each(['token-key', 'revocation-key'] as const)('a new %s', (what) => {
  const { file, life } = ROTATIONS[what];
  const keysAt = async (seconds: number) =>
    readTokenKeys(await readRequiredKey(store, file), { now: () => at(seconds).getTime() });

  test('signs when every program has read it, and the old one verifies until its last token has ended', async () => {
    const old = (await keysAt(0)).signing.kid;
    await rotate(store, what, { trustDomain, now: T0 });
    expect((await keysAt(0)).signing.kid).toBe(old);
    expect((await keysAt(store.settleSeconds - 1)).signing.kid).toBe(old);
    const fresh = (await keysAt(store.settleSeconds)).signing.kid;
    expect(fresh).not.toBe(old);
    expect((await keysAt(0)).verifying.get(fresh)).toBeDefined();
    expect((await keysAt(store.settleSeconds + life)).verifying.get(old)).toBeDefined();
    expect((await keysAt(store.settleSeconds + life + 61)).verifying.get(old)).toBeUndefined();
  });

  test('again at once keeps all of them, and much later drops what is over', async () => {
    await rotate(store, what, { trustDomain, now: T0 });
    expect((await rotate(store, what, { trustDomain, now: at(1) })).dropped).toBe(0);
    expect((JSON.parse(await readRequiredKey(store, file)) as { keys: unknown[] }).keys).toHaveLength(3);
    expect((await rotate(store, what, { trustDomain, now: at(10_000) })).dropped).toBe(2);
  });

  test('after a theft signs now, and the stolen one verifies nothing', async () => {
    const old = (await keysAt(0)).signing.kid;
    await rotate(store, what, { trustDomain, now: T0, compromised: true });
    expect((await keysAt(0)).signing.kid).not.toBe(old);
    expect((await keysAt(0)).verifying.get(old)).toBeUndefined();
  });
});

describe.each(['client-ca', 'attestation-ca'] as const)('a new %s', (what) => {
  const authorities = async () =>
    readAuthorities(await readRequiredKey(store, `${what}.crt`), await readRequiredKey(store, `${what}.key`));

  test('signs when every program has read it, and both are believed meanwhile', async () => {
    const old = signingAuthority(await authorities(), T0);
    await rotate(store, what, { trustDomain, now: T0 });
    expect(signingAuthority(await authorities(), at(store.settleSeconds - 1))).toEqual(old);
    const fresh = signingAuthority(await authorities(), at(store.settleSeconds));
    expect(fresh).not.toEqual(old);
    expect(splitCertificates(await readRequiredKey(store, `${what}.crt`))).toEqual([
      fresh.certificate,
      old.certificate,
    ]);
  });

  test('is written so that OpenSSL reads both', async () => {
    await rotate(store, what, { trustDomain, now: T0 });
    for (const name of [`${what}.crt`, `${what}.key`] as const) {
      const text = await readRequiredKey(store, name);
      expect(text.split('\n').filter((line) => /^-----BEGIN [A-Z ]+-----$/.test(line))).toHaveLength(2);
    }
  });

  test('again after a life drops the one before the last only', async () => {
    await rotate(store, what, { trustDomain, now: T0 });
    const second = signingAuthority(await authorities(), at(store.settleSeconds));
    const later = store.settleSeconds + ROTATIONS[what].life + 61;
    expect((await rotate(store, what, { trustDomain, now: at(later) })).dropped).toBe(1);
    expect(signingAuthority(await authorities(), at(later))).toEqual(second);
    expect(await authorities()).toHaveLength(2);
  });

  test('again too early drops nothing: what the old one signed is still alive', async () => {
    await rotate(store, what, { trustDomain, now: T0 });
    expect((await rotate(store, what, { trustDomain, now: at(30) })).dropped).toBe(0);
    expect(await authorities()).toHaveLength(3);
  });

  test('after a theft signs now, and the stolen one is believed by nobody', async () => {
    const old = signingAuthority(await authorities(), T0);
    await rotate(store, what, { trustDomain, now: T0, compromised: true });
    expect(signingAuthority(await authorities(), T0)).not.toEqual(old);
    expect(await readRequiredKey(store, `${what}.crt`)).not.toContain(old.certificate);
  });
});

test('a new licence key signs when every program has read it; the one before verifies for the longest life of a licence, published with it', async () => {
  const keysAt = async (offset: number) =>
    readTokenKeys(await readRequiredKey(store, 'licence-keys.json'), { now: () => at(offset).getTime() });
  const old = (await keysAt(0)).signing.kid;
  await rotate(store, 'licence-key', { trustDomain, now: T0 });
  expect((await keysAt(0)).signing.kid).toBe(old);
  const fresh = (await keysAt(store.settleSeconds)).signing.kid;
  expect(fresh).not.toBe(old);
  const years = (count: number): number => count * 366 * 86_400;
  expect((await rotate(store, 'licence-key', { trustDomain, now: at(years(9)) })).dropped).toBe(0);
  expect((await bundle()).licenceKeys?.keys.map(({ kid }) => kid)).toEqual(expect.arrayContaining([old, fresh]));
  expect((await rotate(store, 'licence-key', { trustDomain, now: at(years(10) + 1000) })).dropped).toBe(1);
  expect((await bundle()).licenceKeys?.keys.map(({ kid }) => kid)).not.toContain(old);
  await rotate(store, 'licence-key', { trustDomain, now: at(years(10) + 2000), compromised: true });
  expect((await bundle()).licenceKeys?.keys).toHaveLength(1);
});

test('what clients pin is in the trust bundle before anything is signed by it', async () => {
  const before = await bundle();
  await rotate(store, 'attestation-ca', { trustDomain, now: T0 });
  await rotate(store, 'revocation-key', { trustDomain, now: T0 });
  const after = await bundle();
  expect(after.sequence).toBe(before.sequence + 2);
  expect(after.attestationRoots).toEqual([expect.any(String), before.attestationRoots[0]]);
  expect(after.revocationKeys.keys).toEqual([expect.anything(), before.revocationKeys.keys[0]]);
  expect(after.policy).toEqual(before.policy);
});

test('a bundle stays as it was signed when nothing changed, and gets a new sequence with a new policy', async () => {
  const [first, signed] = [await bundle(), await readRequiredKey(store, 'trust-bundle.jws')];
  await publishTrustBundle(store);
  expect(await readRequiredKey(store, 'trust-bundle.jws')).toBe(signed);
  await publishTrustBundle(store, { policy: { softwareTpm: 'allow' } });
  expect(await bundle()).toMatchObject({ sequence: first.sequence + 1, policy: { softwareTpm: 'allow' } });
  expect(JSON.parse(await readRequiredKey(store, 'trust-bundle.json'))).toEqual(await bundle());
});

test('what a newer release added to the bundle stays when this one signs it anew, and refuses it where it is critical', async () => {
  const trustKey = JSON.parse(await readRequiredKey(store, 'trust-key.json')) as JWK;
  const newer = { mirrors: ['https://mirror.test'], policy: { softwareTpm: 'refuse' as const, secureBoot: 'require' } };
  const publish = async (more: object): Promise<void> => {
    const next = { ...(await bundle()), ...newer, ...more };
    const signed = await new CompactSign(Buffer.from(JSON.stringify(next)))
      .setProtectedHeader({ alg: 'ES256', typ: TRUST_BUNDLE_TYPE, kid: next.trustKey.kid })
      .sign(await importJWK(trustKey, 'ES256'));
    await store.write([
      ['trust-bundle.jws', signed],
      ['trust-bundle.json', JSON.stringify(next)],
    ]);
  };
  await publish({});
  const before = await readRequiredKey(store, 'trust-bundle.jws');
  await publishTrustBundle(store);
  expect(await readRequiredKey(store, 'trust-bundle.jws')).toBe(before);
  await rotate(store, 'revocation-key', { trustDomain, now: T0 });
  for (const json of [
    decodeJwt(await readRequiredKey(store, 'trust-bundle.jws')),
    JSON.parse(await readRequiredKey(store, 'trust-bundle.json')),
  ])
    expect(json).toMatchObject(newer);
  await store.write([['trust-bundle.json', JSON.stringify({ ...(await bundle()), mirrors: [] })]]);
  await expect(publishTrustBundle(store)).rejects.toMatchObject({ code: 'keystore.edited' });

  await publish({ critical: ['policy.secureBoot'] });
  await expect(publishTrustBundle(store)).rejects.toThrow('needs a newer release, which knows policy.secureBoot');
});

test('an edit of the plain bundle is never signed: it is refused, or dropped where keys have to go', async () => {
  const [first, signed] = [await bundle(), await readRequiredKey(store, 'trust-bundle.jws')];
  const plain = await readRequiredKey(store, 'trust-bundle.json');
  const edited = { ...first, services: { signup: 'https://mallory.test', login: 'https://mallory.test' } };
  for (const text of [JSON.stringify(edited), JSON.stringify({ ...edited, sequence: first.sequence + 9 }), '{}']) {
    await store.write([['trust-bundle.json', text]]);
    await expect(publishTrustBundle(store)).rejects.toMatchObject({ code: 'keystore.edited' });
    expect(await readRequiredKey(store, 'trust-bundle.jws')).toBe(signed);
  }
  await rotate(store, 'revocation-key', { trustDomain, now: T0, compromised: true });
  expect((await bundle()).services).toEqual(first.services);
  // What a crash between both left.
  await store.write([['trust-bundle.json', plain]]);
  await publishTrustBundle(store);
  expect(JSON.parse(await readRequiredKey(store, 'trust-bundle.json'))).toEqual(await bundle());
});

test("a signed bundle that isn't by the installation's own trust key is not gone on from", async () => {
  const mallory = makeSigningKey('trust');
  const forged = { ...(await bundle()), sequence: 99, trustKey: mallory.publicKey };
  await store.write([['trust-bundle.jws', await signTrustBundle(forged, mallory.privateKey)]]);
  await expect(publishTrustBundle(store)).rejects.toMatchObject({ code: 'keystore.malformed' });
  await expect(readPublishedTrust(store)).rejects.toMatchObject({ code: 'keystore.malformed' });
});

test('keys are readable by their owner only', () => {
  for (const name of [
    'token-keys.json',
    'trust-key.json',
    'revocation-keys.json',
    'licence-keys.json',
    'client-ca.key',
    'admin-ca.key',
  ]) {
    expect(statSync(join(folder, 'keys', name)).mode & 0o777).toBe(0o600);
  }
});

test('a key set that is none is refused without a word of it', async () => {
  await store.write([['token-keys.json', 'hunter22']]);
  const refused = rotate(store, 'token-key' satisfies Rotation, { trustDomain });
  await expect(refused).toRejectWithCode('keystore.malformed');
  await expect(refused).rejects.not.toThrow('hunter22');
});
