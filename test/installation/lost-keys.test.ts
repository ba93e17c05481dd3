import { mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAllKeys } from '../../installation/create';
import { FolderKeyStore } from '../../installation/folder';
import { REPLACEABLE_KEYS } from '../../installation/lost-keys';
import { readRequiredKey, withTrustKey } from '../../installation/store';
import {
  publishTrustBundle,
  readPublishedTrust,
  signTrustBundleOffline,
  TrustKeyAwayError,
} from '../../installation/trust';
import { generateSigningKey } from '../../licensing/tokens/keys';

const trustDomain = 'sls.test';
let folder: string;
let store: FolderKeyStore;
const services = { signup: 'http://a:1', login: 'http://b:1' };

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sls-lost-keys-'));
  store = new FolderKeyStore(folder);
  await createAllKeys(store, { trustDomain });
  await publishTrustBundle(store, { trustDomain, services, policy: { softwareTpm: 'refuse' } });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe.each(REPLACEABLE_KEYS)('%s that is gone', (name) => {
  test("is not made anew beside what it signed, but given back; or replaced on an operator's word", async () => {
    const path = store.placeOf(name);
    renameSync(path, `${path}.away`);
    await expect(createAllKeys(store, { trustDomain })).toRejectWithCode('keystore.key_lost');
    expect(await store.read(name)).toBeUndefined();
    renameSync(`${path}.away`, path);
    const before = await readRequiredKey(store, name);
    await createAllKeys(store, { trustDomain });
    expect(await readRequiredKey(store, name)).toBe(before);

    rmSync(path);
    await createAllKeys(store, { trustDomain, replaceLost: [name] });
    expect(await readRequiredKey(store, name)).not.toBe(before);
  });
});

test('an installation that is older than licences gets their key', async () => {
  rmSync(store.placeOf('licence-keys.json'));
  await publishTrustBundle(store);
  await createAllKeys(store, { trustDomain });
  expect(await store.read('licence-keys.json')).toBeDefined();
});

describe('a trust key that is kept elsewhere', () => {
  let key: string;
  beforeEach(async () => {
    key = await readRequiredKey(store, 'trust-key.json');
    rmSync(store.placeOf('trust-key.json'));
  });

  test('is not made anew, and not needed while nothing changes', async () => {
    const before = await readRequiredKey(store, 'trust-bundle.jws');
    await createAllKeys(store, { trustDomain });
    await publishTrustBundle(store, { services });
    expect(await store.read('trust-key.json')).toBeUndefined();
    expect(await readRequiredKey(store, 'trust-bundle.jws')).toBe(before);
  });

  test('is asked for when the bundle changes; then it signs, and stays where it is', async () => {
    const change = { policy: { softwareTpm: 'allow' as const } };
    const before = await readRequiredKey(store, 'trust-bundle.jws');
    await expect(publishTrustBundle(store, change)).toRejectWithCode('keystore.trust_key_away');
    expect(await readRequiredKey(store, 'trust-bundle.jws')).toBe(before);
    await publishTrustBundle(withTrustKey(store, key), change);
    expect((await readPublishedTrust(store))?.bundle).toMatchObject({ sequence: 2, policy: { softwareTpm: 'allow' } });
    expect(await store.read('trust-key.json')).toBeUndefined();
  });

  test('signs away from the installation what that asked for, and nothing else is published', async () => {
    const change = { policy: { softwareTpm: 'allow' as const } };
    const asked = (await publishTrustBundle(store, change).catch((error: unknown) => error)) as TrustKeyAwayError;
    expect(asked).toBeInstanceOf(TrustKeyAwayError);
    await expect(signTrustBundleOffline(asked.unsigned, JSON.stringify(await generateSigningKey()))).toRejectWithCode(
      'keystore.malformed',
    );
    const other = await signTrustBundleOffline(asked.unsigned.replace('http://a:1', 'http://evil:1'), key);
    await expect(publishTrustBundle(store, change, { signed: other.signed })).toRejectWithCode(
      'keystore.trust_key_away',
    );
    const { signed } = await signTrustBundleOffline(asked.unsigned, key);
    await publishTrustBundle(store, change, { signed });
    expect(readFileSync(join(folder, 'trust-bundle.jws'), 'utf8').trim()).toBe(signed);
  });

  test('another one in its place is refused', async () => {
    const other = withTrustKey(store, JSON.stringify(await generateSigningKey()));
    await expect(publishTrustBundle(other, { policy: { softwareTpm: 'allow' } })).toRejectWithCode(
      'keystore.malformed',
    );
  });
});
