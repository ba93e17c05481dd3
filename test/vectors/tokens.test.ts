import { verifyLicenceKey } from '../../attestation/licences/key';
import { verifySeatToken } from '../../attestation/seats/token';
import { verifyAdminProof } from '../../attestation/tokens/admin-proof';
import { keysByName, readTreeHead } from '../../attestation/transparency/tree-head';
import { fingerprint } from '../../attestation/trust/public-key';
import type { PublicKey } from '../../attestation/trust/public-key';
import { checkRevocations, readRevocations } from '../../attestation/trust/revocations';
import type { RevocationList, RevocationSubject } from '../../attestation/trust/revocations';
import { acceptNewer, readSignedBundle } from '../../attestation/trust/signed-bundle';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { at, judge, readVectors } from './read';
import type { Expect } from './read';

interface Token {
  name: string;
  expect: Expect & { taken?: boolean };
  text: string;
  now?: number;
}

describe('seat tokens', () => {
  const file = readVectors<{
    rootsPem: string;
    trustDomain: string;
    now: number;
    claims: Record<string, string>;
    vectors: Token[];
  }>('seat-tokens');
  test.each(file.vectors)('$name: $expect.code', async ({ expect: expected, text, now = file.now }) => {
    const claims = await judge(expected, () => verifySeatToken(text, { ...file, now: at(now) }));
    const { jti: seat, sub: user, workload: workloadUid } = file.claims;
    if (expected.ok) expect(claims).toMatchObject({ seat, user, workloadUid });
  });
});

describe("administrators' proofs", () => {
  const file = readVectors<{
    rootsPem: string;
    trustDomain: string;
    now: number;
    method: string;
    request: string;
    vectors: Token[];
  }>('admin-proofs');
  const call = { method: file.method, request: Buffer.from(file.request, 'base64') };
  test.each(file.vectors)('$name: $expect.code', async ({ expect: expected, text, now = file.now }) => {
    const proof = await judge(expected, () => verifyAdminProof(text, call, { ...file, now: at(now) }));
    if (expected.ok) expect(proof).toMatchObject({ name: 'root' });
  });
  test('a call without any', async () => {
    await expect(verifyAdminProof(undefined, call, { ...file, now: at(file.now) })).toRejectWithCode(
      'admin.proof_missing',
    );
  });
});

describe('trust bundles', () => {
  const file = readVectors<{ fingerprint: string; bundle: TrustBundle; vectors: Token[]; after: Token[] }>('bundles');
  test.each(file.vectors)('$name: $expect.code', async ({ expect: expected, text }) => {
    const bundle = await judge(expected, () => readSignedBundle(text));
    if (expected.ok) expect(bundle).toEqual(file.bundle);
  });
  test.each(file.after)('after it, $name: $expect.code', async ({ expect: expected, text }) => {
    const newer = await judge(expected, () => acceptNewer({ bundle: file.bundle }, text));
    expect(newer !== undefined).toBe(expected.taken === true);
  });
  test("the trust key's fingerprint", async () =>
    expect(await fingerprint(file.bundle.trustKey)).toBe(file.fingerprint));
});

describe('revocation lists', () => {
  const file = readVectors<{
    keys: PublicKey[];
    now: number;
    list: RevocationList;
    vectors: Token[];
    subjects: Array<{ name: string; expect: Expect; subject: Partial<RevocationSubject> }>;
  }>('revocations');
  test.each(file.vectors)('$name: $expect.code', async ({ expect: expected, text, now = file.now }) => {
    const list = await judge(expected, () => readRevocations(text, file.keys, at(now)));
    if (expected.ok) expect(list).toEqual(file.list);
  });
  test.each(file.subjects)('revoked: $name', async ({ expect: expected, subject }) => {
    const nobody = {
      node: 'node-a',
      akSha256: '00'.repeat(32),
      ekSha256: '00'.repeat(32),
      user: 'ada',
      session: 'live',
    };
    await judge(expected, () => checkRevocations(file.list, { ...nobody, ...subject }));
  });
});

describe('heads of the audit log', () => {
  const file = readVectors<{
    keys: PublicKey[];
    trustDomain: string;
    now: number;
    head: { iat: number; size: number; root: string };
    vectors: Token[];
  }>('heads');
  test.each(file.vectors)('$name: $expect.code', async ({ expect: expected, text, now = file.now }) => {
    const checks = { keyOf: keysByName(file.keys), trustDomain: file.trustDomain, now: at(now) };
    const head = await judge(expected, () => readTreeHead(text, checks));
    const { iat, size, root } = file.head;
    if (expected.ok) expect(head).toEqual({ size, root: Buffer.from(root, 'hex'), at: at(iat) });
  });
});

describe('licence keys', () => {
  const file = readVectors<{
    keys: PublicKey[];
    trustDomain: string;
    now: number;
    licence: { jti: string; exp: number; plan: unknown; accounts: number; grace_days: number };
    vectors: Token[];
  }>('licences');
  test.each(file.vectors)('$name: $expect.code', async ({ expect: expected, text, now = file.now }) => {
    const terms = await judge(expected, () =>
      verifyLicenceKey(file.keys, text, { trustDomain: file.trustDomain, now: at(now) }),
    );
    const { jti: licence, exp, plan, accounts, grace_days: graceDays } = file.licence;
    if (expected.ok) expect(terms).toEqual({ licence, plan, accounts, graceDays, until: at(exp) });
  });
});
