import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { enrolAttestationKey } from '../../../attestor-daemon/enrolment';
import { ensureAttestationKey } from '../../../attestor-daemon/tpm/attestation-key';
import type { AttestationKey } from '../../../attestor-daemon/tpm/attestation-key';
import { activateCredential, readEndorsementKey } from '../../../attestor-daemon/tpm/endorsement-key';
import type { EndorsementKey } from '../../../attestor-daemon/tpm/endorsement-key';
import { TpmTools } from '../../../attestor-daemon/tpm/tools';
import { verifyAttestationKeyChain } from '../../../attestation/certificates/attestation-key';
import { createAuthority } from '../../../licensing/authority/authority';
import { makePool } from '../../../attestation/certificates/complete-chain';
import { channelCredentials, grpcTarget, parseAddress } from '../../../runtime/rpc/address';
import { callUnary } from '../../../runtime/rpc/client';
import { startServer } from '../../../runtime/rpc/server';
import type { RunningServer } from '../../../runtime/rpc/server';
import { openDatabase } from '../../../licensing/store/database';
import type { Database } from '../../../licensing/store/database';
import { TPMA_OBJECT } from '../../../attestation/tpm/constants';
import { endorsementKeyHash } from '../../../attestation/tpm/endorsement';
import { publicKeyObject } from '../../../attestation/tpm/public';
import { enrolService } from '../../../functions/enrol/service';
import type { EnrolOptions } from '../../../functions/enrol/service';
import { EnrolServiceClient, EnrolServiceService } from '../../../proto/gen/licensing/v1/enrol';
import type { BeginEnrolmentRequest, BeginEnrolmentResponse } from '../../../proto/gen/licensing/v1/enrol';
import { recordsOf } from '../../support/audit';
import { testDatabase } from '../../support/postgres';
import { startNodeTpm } from '../../support/node-tpm';
import type { NodeTpm } from '../../support/node-tpm';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';
import { systemClock } from '../../../runtime/clock';

/** A node as its attestor sees it. */
interface Node {
  tpm: NodeTpm;
  tools: TpmTools;
  ek: EndorsementKey;
  ak: AttestationKey;
}

let folder: string;
let postgres: { url: string; stop(): Promise<void> };
let database: Database;
let ca: CertifiedKey;
let servers: RunningServer[] = [];
let client: EnrolServiceClient;
let one: Node;
let two: Node;
let clock: Date | undefined;

async function startNode(caFolder: string): Promise<Node> {
  const tpm = await startNodeTpm({ caFolder });
  const tools = await TpmTools.open(tpm.tcti, join(tpm.folder, 'tools'));
  const ak = await ensureAttestationKey(tools, { handle: '0x81010010', stateDir: join(tpm.folder, 'attestor') });
  return { tpm, tools, ak, ek: await readEndorsementKey(tools) };
}

const sealKey = randomBytes(32);

/** A replica of the service, on the same database. */
async function serve(change: Partial<EnrolOptions> = {}): Promise<EnrolServiceClient> {
  const address = parseAddress(`unix:${join(folder, `enrol-${servers.length}.sock`)}`);
  const implementation = enrolService({
    database,
    authority: async () => ca,
    trust: { roots: one.tpm.caCertificates, intermediates: makePool([]), hashes: new Map() },
    sealKey,
    trustDomain: 'test.local',
    certificateDays: 7,
    clock: { ...systemClock, now: () => Number(clock ?? Date.now()) },
    ...change,
  });
  servers.push(await startServer({ address, services: [{ definition: EnrolServiceService, implementation }] }));
  return new EnrolServiceClient(grpcTarget(address), channelCredentials(address));
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sls-enrol-'));
  const [db, first, second, authority] = await Promise.all([
    testDatabase(),
    startNode(join(folder, 'maker')).then(async (node) => [node, await startNode(join(folder, 'maker'))] as const),
    startNode(join(folder, 'other-maker')),
    createAuthority({ commonName: 'attestation', trustDomain: 'test.local', years: 1 }),
  ]);
  postgres = db;
  [one, two] = first;
  stranger = second;
  ca = authority;
  database = openDatabase(postgres.url, { poolSize: 2 });
  client = await serve();
});
let stranger: Node;
afterEach(() => (clock = undefined));
afterAll(async () => {
  client.close();
  for (const server of servers) await server.stop(0);
  servers = [];
  await database.close();
  await postgres.stop();
  for (const node of [one, two, stranger]) {
    await node.tools.close();
    await node.tpm.stop();
  }
  await rm(folder, { recursive: true, force: true });
});

function begin(from: Node, change: Partial<BeginEnrolmentRequest> = {}, at = client): Promise<BeginEnrolmentResponse> {
  const request = {
    node: 'node-1',
    ekPublic: from.ek.public.bytes,
    ekCertificates: from.ek.certificates,
    akPublic: from.ak.public.bytes,
    ...change,
  };
  return callUnary(at, at.beginEnrolment, request, { timeout: 120_000 });
}

function complete(challenge: string, secret: Buffer, at = client): Promise<{ akCertificates: Buffer[] }> {
  return callUnary(at, at.completeEnrolment, { challenge, secret }, { timeout: 120_000 });
}

test('a genuine TPM gets its attestation key certified for its node', async () => {
  const certificates = await enrolAttestationKey(one.tools, client, { ak: one.ak, node: 'node-1' });
  const read = verifyAttestationKeyChain(certificates, [ca.certificate], new Date());
  expect(read).toMatchObject({
    trustDomain: 'test.local',
    node: 'node-1',
    details: { ekSha256: endorsementKeyHash(one.ek.public), software: true, model: 'swtpm' },
  });
  expect(read.publicKey.equals(publicKeyObject(one.ak.public))).toBe(true);
  const days = (read.notAfter.getTime() - Date.now()) / 86_400_000;
  expect(days).toBeGreaterThan(6.9);
  expect(days).toBeLessThanOrEqual(7);
  // Renewal is the same once more.
  await expect(enrolAttestationKey(one.tools, client, { ak: one.ak, node: 'node-1' })).resolves.toHaveLength(1);
});

test('re-registration takes no node over: another TPM under the same name is refused, with an audit record', async () => {
  await enrolAttestationKey(one.tools, client, { ak: one.ak, node: 'node-taken' });
  const attempt = enrolAttestationKey(two.tools, client, { ak: two.ak, node: 'node-taken' });
  await expect(attempt).toRejectWithCode('enrol.node_bound', { grpcStatus: status.PERMISSION_DENIED });
  const record = (await recordsOf(database)).find(
    ({ kind, detail }) => kind === 'enrol.node_bound' && detail['node'] === 'node-taken',
  );
  expect(record?.detail).toMatchObject({ ekSha256: endorsementKeyHash(two.ek.public) });
  await expect(enrolAttestationKey(one.tools, client, { ak: one.ak, node: 'node-taken' })).resolves.toHaveLength(1);
});

test('a software key with a genuine EK certificate: no secret comes out, and no error text holds it', async () => {
  // The attacker has the EK's public part and certificate, which are public, and an AK of another TPM.
  const begun = await begin(one, { akPublic: two.ak.public.bytes });
  await expect(activateCredential(two.tools, two, begun)).toRejectWithCode('tpm.failed');
  await expect(activateCredential(one.tools, one, begun)).toRejectWithCode('tpm.failed');
  const guess = randomBytes(32);
  const error = await complete(begun.challenge, guess).catch((caught: Error) => caught);
  expect(error).toMatchObject({ code: 'enrol.secret', grpcStatus: status.UNAUTHENTICATED });
  expect(String((error as Error).message)).not.toMatch(/[0-9a-f]{16}/);
  expect(begun.challenge).not.toContain(guess.toString('base64url'));
});

test.each(['fixedTPM', 'fixedParent', 'sensitiveDataOrigin', 'restricted', 'sign'] as const)(
  'a key that is not %s is not enrolled',
  async (attribute) => {
    const akPublic = Buffer.from(one.ak.public.bytes);
    akPublic.writeUInt32BE(akPublic.readUInt32BE(4) & ~TPMA_OBJECT[attribute], 4);
    await expect(begin(one, { akPublic })).toRejectWithCode('enrol.ak_attributes');
  },
);

test('a key that may decrypt, an endorsement key, or no key at all is not enrolled', async () => {
  const decrypting = Buffer.from(one.ak.public.bytes);
  decrypting.writeUInt32BE(decrypting.readUInt32BE(4) | TPMA_OBJECT.decrypt, 4);
  await expect(begin(one, { akPublic: decrypting })).toRejectWithCode('enrol.ak_attributes');
  await expect(begin(one, { akPublic: one.ek.public.bytes })).toRejectWithCode('enrol.ak_attributes');
  for (const akPublic of [
    Buffer.alloc(0),
    randomBytes(88),
    Buffer.concat([one.ak.public.bytes, Buffer.alloc(1)]),
    Buffer.alloc(5000),
  ]) {
    await expect(begin(one, { akPublic })).toRejectWithCode('enrol.malformed', { grpcStatus: status.INVALID_ARGUMENT });
  }
});

test('a TPM of another maker, one without certificate, and one that shows the certificate of another are refused', async () => {
  await expect(begin(stranger)).toRejectWithCode('enrol.ek_certificate_untrusted', {
    grpcStatus: status.PERMISSION_DENIED,
  });
  const unknown = begin(one, { ekCertificates: [] });
  await expect(unknown).toRejectWithCode('enrol.ek_unknown', { grpcStatus: status.PERMISSION_DENIED });
  await expect(unknown).rejects.toThrow(
    `got none: if you know this TPM by other means, set EK_HASHES_FILE of enrol to a file that lists ${endorsementKeyHash(one.ek.public)}`,
  );
  await expect(begin(two, { ekCertificates: one.ek.certificates })).toRejectWithCode('enrol.ek_certificate_untrusted');
});

test('a TPM without a certificate is enrolled when the operator listed its endorsement key, and only then', async () => {
  const hashes = new Map([[endorsementKeyHash(stranger.ek.public), { software: true }]]);
  const listing = await serve({ trust: { roots: [], intermediates: makePool([]), hashes } });
  const begun = await begin(stranger, { node: 'node-listed', ekCertificates: [] }, listing);
  const secret = await activateCredential(stranger.tools, stranger, begun);
  const { akCertificates } = await complete(begun.challenge, secret, listing);
  expect(verifyAttestationKeyChain(akCertificates, [ca.certificate], new Date()).details.software).toBe(true);
  await expect(begin(one, { ekCertificates: [] }, listing)).toRejectWithCode('enrol.ek_unknown');
  listing.close();
});

test('two parallel uses of one challenge, at two replicas: one succeeds', async () => {
  const replica = await serve();
  const begun = await begin(one);
  const secret = await activateCredential(one.tools, one, begun);
  const outcomes = await Promise.allSettled([
    complete(begun.challenge, secret),
    complete(begun.challenge, secret, replica),
  ]);
  expect(outcomes.filter((outcome) => outcome.status === 'fulfilled')).toHaveLength(1);
  await expect(complete(begun.challenge, secret)).toRejectWithCode('enrol.challenge_used', {
    grpcStatus: status.UNAUTHENTICATED,
  });
  replica.close();
});

test('a challenge that is changed, of another service, or too old is refused', async () => {
  const begun = await begin(one);
  const secret = await activateCredential(one.tools, one, begun);
  const parts = begun.challenge.split('.');
  parts[3] = `${parts[3]![0] === 'A' ? 'B' : 'A'}${parts[3]!.slice(1)}`;
  for (const challenge of ['', 'x', parts.join('.'), `${begun.challenge}x`]) {
    await expect(complete(challenge, secret)).toRejectWithCode('enrol.challenge_invalid', {
      grpcStatus: status.UNAUTHENTICATED,
    });
  }
  const other = await serve({ sealKey: randomBytes(32) });
  await expect(complete(begun.challenge, secret, other)).toRejectWithCode('enrol.challenge_invalid');
  other.close();
  clock = new Date(Date.now() + 301_000);
  await expect(complete(begun.challenge, secret)).toRejectWithCode('enrol.challenge_expired');
  clock = undefined;
  await expect(complete(begun.challenge, secret)).resolves.toMatchObject({ akCertificates: [expect.any(Buffer)] });
});

test('challenges and secrets are all distinct', async () => {
  const begun = await Promise.all(Array.from({ length: 100 }, () => begin(one)));
  expect(new Set(begun.map(({ challenge }) => challenge)).size).toBe(100);
  expect(
    new Set(begun.map(({ credentialBlob }) => createHash('sha256').update(credentialBlob).digest('hex'))).size,
  ).toBe(100);
});

test.each(['', '../node', 'a/b', 'a\0b', 'a\nb', 'A_b', `${'a'.repeat(64)}`, '-a', 'a..b'])(
  'no key is enrolled for a node named %j',
  async (node) => {
    await expect(begin(one, { node })).toRejectWithCode('enrol.node_name', { grpcStatus: status.INVALID_ARGUMENT });
  },
);
