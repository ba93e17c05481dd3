import { createHash, randomBytes, X509Certificate } from 'node:crypto';
import { copyFile, cp, mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDaemon } from '../../attestor-daemon/daemon';
import type { RunningDaemon } from '../../attestor-daemon/daemon';
import type { Workload } from '../../attestor-daemon/identity/identity';
import { createAuthority } from '../../licensing/authority/authority';
import { makePool } from '../../attestation/certificates/complete-chain';
import type { Policy } from '../../attestation/evidence/policy';
import { verifyEvidence } from '../../attestation/evidence/verify';
import { parseAddress } from '../../runtime/rpc/address';
import { startServer } from '../../runtime/rpc/server';
import type { RunningServer } from '../../runtime/rpc/server';
import { openDatabase } from '../../licensing/store/database';
import type { Database } from '../../licensing/store/database';
import { enrolService } from '../../functions/enrol/service';
import { EnrolServiceService } from '../../proto/gen/licensing/v1/enrol';
import { Claims } from '../../proto/gen/licensing/v1/evidence';
import { expectedOf } from '../support/evidence';
import type { Evidence } from '../../proto/gen/licensing/v1/evidence';
import { recordsOf } from '../support/audit';
import { attestorClient, AttestStream } from '../support/attest-stream';
import { makeAuthority } from '../support/authority';
import { testDatabase } from '../support/postgres';
import { bootEvents, encodeEventLog } from '../support/event-log';
import { eventually } from '../support/eventually';
import { silent } from '../../runtime/log/log';
import { startNodeTpm } from '../support/node-tpm';
import type { NodeTpm } from '../support/node-tpm';
import type { CertifiedKey } from '../../runtime/keys/key-pair';

/** The user's enclave, of which the login service said that it is on node-a. */
const WORKLOAD: Omit<Workload, 'node'> = {
  user: 'ada',
  workloadUid: 'uid-1',
  imageDigest: `sha256:${'ab'.repeat(32)}`,
};

let folder: string;
let postgres: { url: string; stop(): Promise<void> };
let database: Database;
let ca: CertifiedKey;
let enrol: RunningServer;
let enrolAddress: ReturnType<typeof parseAddress>;
let certificate: Buffer;
/** Two machines with TPMs of two makers, both trusted, both enrolled. */
let tpmA: NodeTpm;
let tpmB: NodeTpm;
const daemons: RunningDaemon[] = [];
const eventLog = encodeEventLog(bootEvents());

interface Machine {
  /** How often it has logged that it has no certified key. */
  failures(): number;
  daemon: RunningDaemon;
  attest(nonce: Buffer, includeEventLog?: boolean): Promise<Evidence>;
}

/** An attestor of `node` on a TPM. */
async function startAttestor(
  name: string,
  options: { tpm: string; node: string; stateDir?: string },
): Promise<Machine> {
  const listen = parseAddress(`unix:${join(folder, `${name}.sock`)}`);
  const warn = jest.fn();
  const daemon = await startDaemon({
    log: { ...silent, warn },
    listen,
    tpm: options.tpm,
    node: options.node,
    stateDir: options.stateDir ?? join(folder, name),
    enrol: { address: enrolAddress },
    identifier: {
      identify: () => Promise.resolve({ ...WORKLOAD, node: options.node }),
      isGone: () => Promise.resolve(false),
    },
    akHandle: '0x81010010',
    eventLogFile: join(folder, 'event-log'),
    retry: { firstMs: 50, mostMs: 200 },
  });
  daemons.push(daemon);
  return {
    daemon,
    failures: () => warn.mock.calls.length,
    async attest(nonce, includeEventLog = false) {
      const client = attestorClient(listen);
      try {
        const stream = new AttestStream(client, 'Bearer any', certificate);
        const result = await stream.ask({ nonce, includeEventLog });
        stream.end();
        await stream.ended;
        if (result?.$case !== 'evidence') throw Object.assign(new Error('no evidence'), result?.value);
        return result.value;
      } finally {
        client.close();
      }
    },
  };
}

/** As the client of the user whose enclave is said to be on node-a. */
function verify(
  evidence: Evidence,
  nonce: Buffer,
  { saidNode = 'node-a', ...policy }: Partial<Policy> & { saidNode?: string | null } = {},
): ReturnType<typeof verifyEvidence> {
  const said = { nonce, user: 'ada', workloadUid: 'uid-1', node: saidNode ?? undefined };
  const verified = verifyEvidence(evidence, {
    trust: { attestationRoots: [ca.certificate], trustDomain: 'test.local' },
    expected: expectedOf(Claims.decode(evidence.claims), said),
    policy: { softwareTpm: 'allow', ...policy },
    now: new Date(),
  });
  expect(verified.claims.certificateSha256).toEqual(createHash('sha256').update(certificate).digest());
  return verified;
}

/** Enrolment under a name that is another TPM's is tried, recorded, and leaves the attestor without a certified key. */
async function expectBound({ daemon, failures }: Machine, recordsBefore: number): Promise<void> {
  await eventually(async () => (await boundRecords()) > recordsBefore);
  const before = failures();
  let ready = false;
  void daemon.ready.then(() => (ready = true));
  // However often it tries.
  await eventually(() => failures() > before + 2);
  expect(ready).toBe(false);
}

async function boundRecords(): Promise<number> {
  return (await recordsOf(database)).filter(({ kind }) => kind === 'enrol.node_bound').length;
}

let a: Machine;
let b: Machine;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sls-second-'));
  [postgres, tpmA, tpmB, ca] = await Promise.all([
    testDatabase(),
    startNodeTpm(),
    startNodeTpm(),
    createAuthority({ commonName: 'attestation', trustDomain: 'test.local', years: 1 }),
  ]);
  database = openDatabase(postgres.url, { poolSize: 2 });
  certificate = new X509Certificate((await makeAuthority('enclave')).certificate).raw;
  enrolAddress = parseAddress(`unix:${join(folder, 'enrol.sock')}`);
  const implementation = enrolService({
    database,
    authority: () => Promise.resolve(ca),
    trust: { roots: [...tpmA.caCertificates, ...tpmB.caCertificates], intermediates: makePool([]), hashes: new Map() },
    sealKey: randomBytes(32),
    trustDomain: 'test.local',
    certificateDays: 7,
  });
  enrol = await startServer({ address: enrolAddress, services: [{ definition: EnrolServiceService, implementation }] });
  await writeLog();
  a = await startAttestor('a', { tpm: tpmA.tcti, node: 'node-a' });
  b = await startAttestor('b', { tpm: tpmB.tcti, node: 'node-b' });
  await Promise.all([a.daemon.ready, b.daemon.ready]);
}, 120_000);
afterAll(async () => {
  await Promise.all(daemons.map((daemon) => daemon.stop()));
  await enrol.stop(0);
  await database.close();
  await postgres.stop();
  await tpmA.stop();
  await tpmB.stop();
  await rm(folder, { recursive: true, force: true });
});

async function writeLog(): Promise<void> {
  await tpmA.write('event-log', eventLog);
  await copyFile(join(tpmA.folder, 'event-log'), join(folder, 'event-log'));
}

test("the node's own TPM: taken; the event log comes along when it is asked for", async () => {
  const nonce = randomBytes(32);
  const evidence = await a.attest(nonce);
  expect(verify(evidence, nonce).claims.node).toBe('node-a');
  expect(evidence.eventLog).toBeUndefined();
  const second = randomBytes(32);
  const logged = await a.attest(second, true);
  expect(logged.eventLog).toEqual(eventLog);
  // This TPM was never extended by it.
  expect(verify(logged, second).warnings).toContainEqual(expect.objectContaining({ code: 'event_log.contradicted' }));
});

describe('any genuine TPM accepted (diversion)', () => {
  test("a quote from a second enrolled node, same PCRs, for this user's enclave: refused", async () => {
    const nonce = randomBytes(32);
    const evidence = await b.attest(nonce);
    expect(() => verify(evidence, nonce)).toThrowWithCode('identity.node');
    // Nobody said which node: then a policy may.
    expect(() => verify(evidence, nonce, { saidNode: null, nodes: ['node-a'] })).toThrowWithCode('policy.node');
  });

  test("its quote with the other node's certificate, or over claims that name the other node: refused", async () => {
    const nonce = randomBytes(32);
    const [good, theirs] = [await a.attest(nonce), await b.attest(nonce)];
    expect(() => verify({ ...theirs, akCertificates: good.akCertificates }, nonce)).toThrowWithCode(
      'ak_certificate.key_mismatch',
    );
    expect(() =>
      verify({ ...theirs, akCertificates: good.akCertificates, akPublic: good.akPublic }, nonce),
    ).toThrowWithCode('signature.mismatch');
    expect(() => verify({ ...theirs, claims: good.claims }, nonce)).toThrowWithCode('root.qualifying_data');
  });

  test('a rogue node: its attestor claims to be this one, with its own certified key', async () => {
    // Its own state, so that it has key and certificate of node-b, under a name that isn't its own.
    await daemons.pop()?.stop();
    await cp(join(folder, 'b'), join(folder, 'rogue'), { recursive: true });
    const rogue = await startAttestor('rogue', { tpm: tpmB.tcti, node: 'node-a', stateDir: join(folder, 'rogue') });
    const before = await boundRecords();
    await expectBound(rogue, before);
    await daemons.pop()?.stop();
  });
});

test('cuckoo attack: TPM commands proxied to another machine: refused, the EK is not the one enrolled for that node', async () => {
  const proxied = join(folder, 'proxied');
  const servers = await Promise.all(
    ['', '.ctrl'].map((suffix) => proxy(`${proxied}${suffix}`, `${tpmB.tcti.replace('swtpm:path=', '')}${suffix}`)),
  );
  try {
    const before = await boundRecords();
    const cuckoo = await startAttestor('cuckoo', { tpm: `swtpm:path=${proxied}`, node: 'node-a' });
    await expectBound(cuckoo, before);
    await expect(cuckoo.attest(randomBytes(32))).toRejectWithCode('attestor.not_ready');
  } finally {
    await daemons.pop()?.stop();
    for (const server of servers) server.close();
  }
});

/** What stands on the machine instead of its TPM, and passes every command on to one elsewhere. */
async function proxy(path: string, target: string): Promise<Server> {
  const server = createServer((socket) => {
    const upstream = connect(target);
    socket.pipe(upstream).pipe(socket);
    for (const end of [socket, upstream]) end.on('error', () => (socket.destroy(), upstream.destroy()));
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return server;
}
