import { trustBundleReader } from '../../../functions/login/trust';
import { signTrustBundle } from '../../../attestation/trust/signed-bundle';
import type { TrustBundle } from '../../../attestation/trust/bundle';
import { loginBundle } from '../../support/login-trust';
import { makeSigningKey } from '../../support/trust';

const trust = makeSigningKey('trust');
let bundle: TrustBundle;
beforeAll(async () => {
  bundle = await loginBundle({ sequence: 5, trustKey: trust.publicKey });
});
const signed = (change: Partial<TrustBundle>, key = trust): Promise<string> =>
  signTrustBundle({ ...bundle, ...change, trustKey: key.publicKey }, key.privateKey);

test('a newer bundle of the same trust key takes the place of the one that is held', async () => {
  const read = trustBundleReader();
  expect((await read(await signed({}))).bundle.sequence).toBe(5);
  const newer = await signed({ sequence: 6 });
  expect(await read(`${newer}\n`)).toMatchObject({ signed: newer, bundle: { sequence: 6 } });
});

test('the same bundle, signed again, changes nothing', async () => {
  const read = trustBundleReader();
  const first = await signed({});
  await read(first);
  expect((await read(await signed({}))).signed).toBe(first);
});

test.each<[string, string, () => Promise<string>]>([
  ['the plain form', 'trust.unsigned', () => Promise.resolve(JSON.stringify(bundle))],
  ['another trust key', 'trust.key_changed', () => signed({ sequence: 9 }, makeSigningKey('trust'))],
  ['another installation', 'trust.domain_changed', () => signed({ sequence: 9, trustDomain: 'other.example' })],
  ['an older one', 'trust.older', () => signed({ sequence: 4 })],
  ['another one of its sequence', 'trust.conflict', () => signed({ policy: { softwareTpm: 'allow' } })],
])('%s in the file is refused: %s', async (_, code, offer) => {
  const read = trustBundleReader();
  const held = await signed({});
  await read(held);
  await expect(read(await offer())).rejects.toMatchObject({ code });
  expect((await read(held)).signed).toBe(held);
});
