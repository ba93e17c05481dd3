import { CompactSign, importJWK } from 'jose';
import type { TrustBundle } from '../../../attestation/trust/bundle';
import { fingerprint } from '../../../attestation/trust/public-key';
import {
  acceptNewer,
  readSignedBundle,
  signTrustBundle,
  TRUST_BUNDLE_TYPE,
} from '../../../attestation/trust/signed-bundle';
import { makeAuthority } from '../../support/authority';
import { makeSigningKey } from '../../support/trust';
import type { TestSigningKey } from '../../support/trust';

let trust: TestSigningKey;
let bundle: TrustBundle;

beforeAll(async () => {
  trust = makeSigningKey('trust');
  bundle = {
    version: 1,
    sequence: 7,
    trustKey: trust.publicKey,
    revocationKeys: { keys: [makeSigningKey().publicKey] },
    trustDomain: 'sls.local',
    attestationRoots: [(await makeAuthority('root')).certificate],
    serverRoots: [],
    services: { signup: 'https://signup.example', login: 'https://login.example' },
    policy: { softwareTpm: 'refuse' },
  };
});

async function forge(content: unknown, key: TestSigningKey, typ = TRUST_BUNDLE_TYPE): Promise<string> {
  const signed = new CompactSign(Buffer.from(JSON.stringify(content))).setProtectedHeader({
    alg: 'ES256',
    typ,
    kid: key.publicKey.kid,
  });
  return signed.sign(await importJWK(key.privateKey, 'ES256'));
}

test('a signed bundle is read as it was written', async () => {
  expect(await readSignedBundle(await signTrustBundle(bundle, trust.privateKey))).toEqual(bundle);
});

test('nobody signs a bundle that names another trust key by mistake', async () => {
  await expect(signTrustBundle(bundle, makeSigningKey().privateKey)).rejects.toThrow(TypeError);
});

test('a bundle signed by another key than the one in it is refused', async () => {
  await expect(readSignedBundle(await forge(bundle, makeSigningKey('trust')))).toRejectWithCode('trust.signature');
});

test('a bundle changed after it was signed is refused', async () => {
  const [header, , signature] = (await signTrustBundle(bundle, trust.privateKey)).split('.');
  const changed = Buffer.from(JSON.stringify({ ...bundle, policy: { softwareTpm: 'allow' } })).toString('base64url');
  await expect(readSignedBundle(`${header}.${changed}.${signature}`)).toRejectWithCode('trust.signature');
});

test('a bundle without a signature (alg none) is refused', async () => {
  const header = Buffer.from(JSON.stringify({ alg: 'none', typ: TRUST_BUNDLE_TYPE })).toString('base64url');
  await expect(
    readSignedBundle(`${header}.${Buffer.from(JSON.stringify(bundle)).toString('base64url')}.`),
  ).toRejectWithCode('trust.signature');
});

test.each(['', 'a.b', 'a.b.c', 'x'.repeat(600_000)])('what is no signed bundle is refused (%#)', async (text) => {
  await expect(readSignedBundle(text)).toRejectWithCode('trust.malformed');
});

test('something else that the trust key signed is refused', async () => {
  await expect(readSignedBundle(await forge(bundle, trust, 'sls-revocations+jwt'))).toRejectWithCode('trust.type');
});

test('a signed bundle with a wrong field is refused by the name of the field', async () => {
  const refused = readSignedBundle(await forge({ ...bundle, attestationRoots: [] }, trust));
  await expect(refused).toRejectWithCode('trust.malformed');
  await expect(refused).rejects.toThrow('attestationRoots');
});

describe('in place of a pinned bundle', () => {
  const signed = (change: Partial<TrustBundle>): Promise<string> =>
    signTrustBundle({ ...bundle, ...change }, trust.privateKey);

  test('a newer one by the same key is taken', async () => {
    expect(
      await acceptNewer({ bundle }, await signed({ sequence: 8, policy: { softwareTpm: 'allow' } })),
    ).toMatchObject({
      sequence: 8,
      policy: { softwareTpm: 'allow' },
    });
  });

  test('an older one is left alone, and so is the same one, signed again', async () => {
    expect(
      await acceptNewer({ bundle }, await signed({ sequence: 6, policy: { softwareTpm: 'allow' } })),
    ).toBeUndefined();
    expect(await acceptNewer({ bundle }, await signed({}))).toBeUndefined();
    expect(await acceptNewer({ bundle, signed: await signed({}) }, await signed({}))).toBeUndefined();
  });

  test.each<[string, () => Promise<Partial<TrustBundle>>]>([
    ['other roots', async () => ({ attestationRoots: [(await makeAuthority('another')).certificate] })],
    ['other revocation keys', async () => ({ revocationKeys: { keys: [makeSigningKey('another').publicKey] } })],
    ['a key more', async () => ({ licenceKeys: { keys: [makeSigningKey('another').publicKey] } })],
  ])('one of its sequence with %s is refused', async (_what, change) => {
    await expect(acceptNewer({ bundle }, await signed(await change()))).toRejectWithCode('trust.conflict');
  });

  test('one of its sequence with another policy or other services: those may be the own ones, unless it is held as it was signed', async () => {
    const services = { ...bundle.services, login: 'https://other.example' };
    for (const change of [{ policy: { softwareTpm: 'allow' as const } }, { services }]) {
      expect(await acceptNewer({ bundle }, await signed(change))).toBeUndefined();
      const held = { bundle, signed: await signed({}) };
      await expect(acceptNewer(held, await signed(change))).toRejectWithCode('trust.conflict');
    }
  });

  test('one by another trust key is refused, with both fingerprints to compare', async () => {
    const other = makeSigningKey('trust');
    const offered = await signTrustBundle({ ...bundle, sequence: 99, trustKey: other.publicKey }, other.privateKey);
    const refused = acceptNewer({ bundle }, offered);
    await expect(refused).toRejectWithCode('trust.key_changed');
    await expect(refused).rejects.toThrow(await fingerprint(trust.publicKey));
    await expect(refused).rejects.toThrow(await fingerprint(other.publicKey));
  });

  test('one of another installation is refused', async () => {
    await expect(acceptNewer({ bundle }, await signed({ sequence: 8, trustDomain: 'other.example' }))).toRejectWithCode(
      'trust.domain_changed',
    );
  });
});

test('a fingerprint depends on the key and not on its name', async () => {
  expect(await fingerprint({ ...trust.publicKey, kid: 'x' })).toBe(await fingerprint(trust.publicKey));
  expect(await fingerprint(trust.publicKey)).toMatch(/^SHA256:[A-Za-z0-9_-]{43}$/);
});
