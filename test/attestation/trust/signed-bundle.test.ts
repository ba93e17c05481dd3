import { CompactSign, importJWK } from 'jose';
import type { TrustBundle } from '../../../attestation/trust/bundle';
import { fingerprint } from '../../../attestation/trust/public-key';
import {
  acceptNewer,
  checkNotOlder,
  readSignedBundle,
  readTrustedBundle,
  signTrustBundle,
  TRUST_BUNDLE_TYPE,
} from '../../../attestation/trust/signed-bundle';
import type { SignedTrust } from '../../../attestation/trust/signed-bundle';
import { makeAuthority } from '../../support/authority';
import { makeSigningKey } from '../../support/trust';
import { longest } from '../../support/longest';
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

async function forge(
  content: unknown,
  key: TestSigningKey,
  typ = TRUST_BUNDLE_TYPE,
  { spaces = 0, header = 0 } = {},
): Promise<string> {
  const payload = Buffer.from(`${JSON.stringify(content)}${' '.repeat(spaces)}`);
  const signed = new CompactSign(payload).setProtectedHeader({
    alg: 'ES256',
    typ,
    kid: key.publicKey.kid,
    cty: 'x'.repeat(header),
  });
  return signed.sign(await importJWK(key.privateKey, 'ES256'));
}

test('a signed bundle is read as it was written', async () => {
  expect(await readSignedBundle(await signTrustBundle(bundle, trust.privateKey))).toEqual(bundle);
});

test('what is critical counts as it was signed: a bundle of a newer release is refused as one', async () => {
  const newer = { ...bundle, mirrors: [], critical: ['mirrors'] };
  const jws = await forge(newer, trust);
  await expect(readSignedBundle(jws)).toRejectWithCode('trust.newer_release');
  await expect(acceptNewer({ bundle }, jws)).toRejectWithCode('trust.newer_release');
  const { critical: _, ...without } = newer;
  const [header, , signature] = jws.split('.');
  const changed = [header, Buffer.from(JSON.stringify(without)).toString('base64url'), signature].join('.');
  await expect(readSignedBundle(changed)).toRejectWithCode('trust.signature');
  // Nobody is told to upgrade by a bundle that its trust key never signed.
  await expect(readSignedBundle(await forge(newer, makeSigningKey()))).toRejectWithCode('trust.signature');
  await expect(readSignedBundle(await forge({ ...bundle, critical: ['mirrors'] }, trust))).toRejectWithCode(
    'trust.malformed',
  );
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

test('a bundle longer than any is refused: the longest is taken, a character more is not', async () => {
  const bundles = await longest(512 * 1024, (spaces, header) =>
    forge(bundle, trust, TRUST_BUNDLE_TYPE, { spaces, header }),
  );
  expect(await readSignedBundle(`${bundles.longest}\n`)).toEqual(bundle);
  await expect(readSignedBundle(bundles.longer)).toRejectWithCode('trust.malformed');
});

test('the plain form is refused as what it is', async () => {
  for (const text of [JSON.stringify(bundle), `\n ${JSON.stringify(bundle, null, 2)}`, '{}'])
    await expect(readSignedBundle(text)).toRejectWithCode('trust.unsigned');
});

test('a bundle is taken by the fingerprint of its trust key, and by no other', async () => {
  const jws = await signTrustBundle(bundle, trust.privateKey);
  expect(await readTrustedBundle(jws, await fingerprint(trust.publicKey))).toEqual(bundle);
  for (const other of [await fingerprint(makeSigningKey('trust').publicKey), ''])
    await expect(readTrustedBundle(jws, other)).toRejectWithCode('trust.fingerprint');
});

describe('beside one that is held', () => {
  const offer = async (change: Partial<TrustBundle>): Promise<SignedTrust> => {
    const offered = { ...bundle, ...change };
    return { bundle: offered, signed: await signTrustBundle(offered, trust.privateKey) };
  };

  test('the same one and a newer one are no older', async () => {
    const held = await offer({});
    expect(() => checkNotOlder(held, held)).not.toThrow();
    expect(() => checkNotOlder({ bundle }, held)).not.toThrow();
    const newer = await offer({ sequence: 8, policy: { softwareTpm: 'allow' } });
    expect(() => checkNotOlder(held, newer)).not.toThrow();
  });

  test('an older one, and another one of its sequence, are refused', async () => {
    const held = await offer({});
    const older = await offer({ sequence: 6 });
    const other = await offer({ policy: { softwareTpm: 'allow' } });
    expect(() => checkNotOlder(held, older)).toThrowWithCode('trust.older');
    expect(() => checkNotOlder(held, other)).toThrowWithCode('trust.conflict');
  });
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
