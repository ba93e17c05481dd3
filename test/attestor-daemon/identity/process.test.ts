import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import type { CryptoKey } from 'jose';
import { ProcessIdentity, readLauncherKey } from '../../../attestor-daemon/identity/process';
import { issueWorkloadCredential } from '../../../launcher/workload-credential';
import { mountSmallDisk } from '../../support/small-disk';

const workload = { user: 'user-1', workloadUid: 'uid-1', imageDigest: `sha256:${'ab'.repeat(32)}` };
let folder: string;
let keys: { publicKey: CryptoKey; privateKey: CryptoKey };
let launcherKey: string;
let identity: ProcessIdentity;
const open = async (): Promise<ProcessIdentity> =>
  ProcessIdentity.open({
    launcherKey: await readLauncherKey(launcherKey),
    node: 'node-1',
    usedFile: join(folder, 'state', 'used'),
  });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sls-identity-'));
  keys = await generateKeyPair('ES256', { extractable: true });
  launcherKey = JSON.stringify(await exportJWK(keys.publicKey));
  identity = await open();
});
afterAll(async () => {
  await identity.close();
  await rm(folder, { recursive: true, force: true });
});

interface Changes {
  typ?: string;
  iss?: string;
  aud?: string;
  iat?: number;
  exp?: number;
  sub?: string;
  jti?: string;
  claims?: Record<string, unknown>;
  key?: CryptoKey;
}
const now = (): number => Math.floor(Date.now() / 1000);

/** A credential as the launcher makes it, with something changed. */
function forge(change: Changes): Promise<string> {
  const jwt = new SignJWT(change.claims ?? { user: workload.user, image_digest: workload.imageDigest })
    .setProtectedHeader({ alg: 'ES256', typ: change.typ ?? 'sls-workload+jwt' })
    .setIssuer(change.iss ?? 'launcher')
    .setAudience(change.aud ?? 'attestor')
    .setSubject(change.sub ?? workload.workloadUid)
    .setIssuedAt(change.iat ?? now())
    .setExpirationTime(change.exp ?? now() + 300);
  return ('jti' in change && change.jti === undefined ? jwt : jwt.setJti(change.jti ?? crypto.randomUUID())).sign(
    change.key ?? keys.privateKey,
  );
}

test('a credential of the launcher names the workload', async () => {
  expect(await identity.identify(await issueWorkloadCredential(keys.privateKey, workload))).toEqual({
    ...workload,
    node: 'node-1',
  });
  expect(await identity.identify(await forge({}))).toEqual({ ...workload, node: 'node-1' });
});

test('a credential used twice is refused, at once or after a restart of the attestor', async () => {
  const credential = await issueWorkloadCredential(keys.privateKey, workload);
  const outcomes = await Promise.allSettled([identity.identify(credential), identity.identify(credential)]);
  expect(outcomes.map((outcome) => outcome.status).sort()).toEqual(['fulfilled', 'rejected']);
  await expect(identity.identify(credential)).toRejectWithCode('attestor.credential_used');
  const restarted = await open();
  await expect(restarted.identify(credential)).toRejectWithCode('attestor.credential_used');
  await restarted.close();
  expect(await readFile(join(folder, 'state', 'used'), 'utf8')).not.toContain(credential);
});

test.each<[string, Changes]>([
  ['of another type', { typ: 'at+jwt' }],
  ['of another issuer', { iss: 'somebody' }],
  ['of another audience', { aud: 'sls' }],
  ['that has ended', { iat: now() - 400, exp: now() - 100 }],
  ['issued too long ago', { iat: now() - 400, exp: now() + 100 }],
  ['issued in the future', { iat: now() + 1000, exp: now() + 1200 }],
  ['that claims a longer life', { exp: now() + 3600 }],
  ['without an id', { jti: undefined }],
  ['without a user', { claims: { image_digest: workload.imageDigest } }],
  ['with a tag for a digest', { claims: { user: 'user-1', image_digest: 'enclave:latest' } }],
])('a credential %s is refused', async (_, change) => {
  await expect(forge(change).then((credential) => identity.identify(credential))).toRejectWithCode(
    'attestor.credential_refused',
  );
});

test('a credential by another key, without a signature, or no credential at all is refused', async () => {
  const other = await generateKeyPair('ES256');
  const forged = [await forge({ key: other.privateKey }), '', 'x', 'a.b.c', 'x'.repeat(5000)];
  const [, payload] = (await forge({})).split('.');
  forged.push(`${Buffer.from('{"alg":"none","typ":"sls-workload+jwt"}').toString('base64url')}.${payload}.`);
  const symmetric = new SignJWT({ user: 'user-1', image_digest: workload.imageDigest }).setProtectedHeader({
    alg: 'HS256',
    typ: 'sls-workload+jwt',
  });
  symmetric
    .setIssuer('launcher')
    .setAudience('attestor')
    .setSubject('uid-1')
    .setJti('1')
    .setIssuedAt()
    .setExpirationTime('5 min');
  forged.push(await symmetric.sign(Buffer.from(launcherKey)));
  for (const credential of forged) {
    await expect(identity.identify(credential)).toRejectWithCode('attestor.credential_refused');
  }
});

test('a key file that holds another kind of key is refused', async () => {
  await expect(readLauncherKey('{"kty":"oct","k":"AAAA"}')).rejects.toThrow(TypeError);
});

test('a full disk: what could not be written down was not taken, and what was stays used', async () => {
  const disk = mountSmallDisk(64 * 1024);
  if (!disk) return;
  const usedFile = join(disk.folder, 'used');
  const openThere = async (): Promise<ProcessIdentity> =>
    ProcessIdentity.open({ launcherKey: await readLauncherKey(launcherKey), node: 'node-1', usedFile });
  const newCredential = (): Promise<string> => issueWorkloadCredential(keys.privateKey, workload);
  let there = await openThere();
  try {
    const taken: string[] = [];
    const take = async (): Promise<string> => {
      const credential = await newCredential();
      await there.identify(credential);
      taken.push(credential);
      return credential;
    };
    await take();
    disk.fill();
    let refused: unknown;
    // Until the file needs a block that there is not.
    while (refused === undefined) await take().catch((error: unknown) => (refused = error));
    expect(refused).toMatchObject({ code: 'attestor.record_unwritable', grpcStatus: status.UNAVAILABLE });
    const again = await newCredential();
    await expect(there.identify(again)).toRejectWithCode('attestor.record_unwritable');
    disk.empty();
    await there.identify(again);
    taken.push(again, await take());
    await there.close();
    there = await openThere();
    for (const credential of taken)
      await expect(there.identify(credential)).toRejectWithCode('attestor.credential_used');
  } finally {
    await there.close();
    disk.remove();
  }
});
