import { randomUUID } from 'node:crypto';
import { Metadata, status } from '@grpc/grpc-js';
import { createAuthority } from '../../../licensing/authority/authority';
import { callUnary } from '../../../runtime/rpc/client';
import type { RpcError } from '../../../runtime/rpc/errors';
import { finishDeletions } from '../../../functions/login/deletion';
import { EnclaveState } from '../../../proto/gen/licensing/v1/enclaves';
import type { ListEnclavesResponse } from '../../../proto/gen/licensing/v1/enclaves';
import { recordsOf } from '../../support/audit';
import { beginSession, TRUST_DOMAIN, writeAccountFiles } from '../../support/accounts';
import type { AccountFiles } from '../../support/accounts';
import { startEmbeddedTestPostgres } from '../../support/embedded-postgres';
import { TestCluster } from '../../support/enclave-objects';
import { giveLicence, insertLicence } from '../../support/licences';
import { byToken, logIn, loginRequest, newClientKey } from '../../support/login-client';
import type { ClientKey } from '../../support/login-client';
import { migratedDatabase, noPostgres } from '../../support/postgres';
import { fakeLauncher } from '../../support/launcher';
import { startReplica } from '../../support/replica';
import type { Replica } from '../../support/replica';
import type { EnclaveId } from '../../../attestation/evidence/enclave-name';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';

if (noPostgres !== undefined) console.warn(noPostgres);

const TIMEOUT = { timeout: 120_000 };
const LIMIT = 3;

function outcome<T>(call: Promise<T>): Promise<T | string> {
  return call.catch((error: RpcError) => `${error.code} ${status[error.grpcStatus]}`);
}

function bearer(token: string): Metadata {
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${token}`);
  return metadata;
}

function contract(open: () => Promise<{ url: string; stop(): Promise<void> }>): void {
  let server: { url: string; stop(): Promise<void> };
  let files: AccountFiles;
  let replicas: [Replica, Replica];
  let clientCa: CertifiedKey;
  let key: ClientKey;
  let cluster: TestCluster;
  let user: string;
  let token: string;

  beforeAll(async () => {
    server = await open();
    files = await writeAccountFiles(server.url);
    clientCa = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
    key = await newClientKey();
    cluster = new TestCluster(() => clientCa.certificate);
    const start = (): Promise<Replica> =>
      startReplica(files, clientCa, () => Promise.reject(new Error('not asked')), {
        launcher: cluster.launcher,
        defaultEnclaves: LIMIT,
      });
    replicas = await Promise.all([start(), start()]);
  });

  afterAll(async () => {
    await Promise.all([...replicas.map((replica) => replica.stop()), cluster.stop()]);
    await files.remove();
    await server.stop();
  });

  const newUser = async (): Promise<{ user: string; token: string }> => {
    const id = (await replicas[0].backend.accounts.create(`u${randomUUID().slice(0, 8)}`, 'hash'))!;
    return { user: id, token: (await beginSession(replicas[0].backend, id)).accessToken };
  };

  beforeEach(async () => {
    ({ user, token } = await newUser());
    cluster.asked.length = 0;
    cluster.failing = false;
    cluster.beforeStart = () => Promise.resolve();
    cluster.leadTo = (name) => name;
  });

  const login = (name: string, at = 0, by = token): ReturnType<typeof logIn> =>
    logIn(replicas[at]!.login, loginRequest(key, byToken(by), name));
  const list = (by = token, at = 0): Promise<ListEnclavesResponse> =>
    callUnary(
      replicas[at]!.management,
      replicas[at]!.management.listEnclaves,
      {},
      { ...TIMEOUT, metadata: bearer(by) },
    );
  const suspend = (name: string, by = token): Promise<{ wasRunning: boolean; filesKept: boolean }> =>
    callUnary(
      replicas[0].management,
      replicas[0].management.suspendEnclave,
      { name },
      { ...TIMEOUT, metadata: bearer(by) },
    );
  const remove = (name: string, by = token, at = 0): Promise<object> =>
    callUnary(
      replicas[at]!.management,
      replicas[at]!.management.deleteEnclave,
      { name },
      { ...TIMEOUT, metadata: bearer(by) },
    );
  const names = async (by = token): Promise<string[]> => (await list(by)).enclaves.map(({ name }) => name);

  test('a login without a name gives the default enclave, one with a name that one; they are listed with what they do', async () => {
    const first = await login('');
    const second = await login('gpu-lab');
    expect(first.result.enclave!.workloadUid).not.toBe(second.result.enclave!.workloadUid);
    expect((await login('default')).result.enclave!.workloadUid).toBe(first.result.enclave!.workloadUid);
    await suspend('default');
    const { enclaves, limit } = await list(token, 1);
    expect(limit).toBe(LIMIT);
    expect(enclaves).toMatchObject([
      { name: 'default', state: EnclaveState.ENCLAVE_STATE_AT_ZERO, node: '', persistent: true },
      { name: 'gpu-lab', state: EnclaveState.ENCLAVE_STATE_RUNNING, node: 'node-a', persistent: true },
    ]);
    expect(Math.abs(Number(enclaves[0]!.lastUsedAt) - Date.now() / 1000)).toBeLessThan(60);
  });

  test.each(['A', 'GPU-lab', '-a', 'a-', 'a.b', 'a/b', '../a', 'a_b', 'a b', 'ä', 'a\0', 'a\n', 'a'.repeat(64)])(
    'a name that is no DNS label is refused before anything else: %j',
    async (name) => {
      expect(await outcome(login(name, 0, 'not even a token'))).toBe('enclave.name INVALID_ARGUMENT');
      for (const call of [suspend, remove]) expect(await outcome(call(name))).toBe('enclave.name INVALID_ARGUMENT');
    },
  );

  test('a name of 63 characters is one', async () => {
    expect((await login('a'.repeat(63))).result.enclave?.user).toBe(user);
  });

  test('evidence of another enclave of the same user is refused by the login service itself', async () => {
    cluster.leadTo = () => 'other';
    expect(await outcome(login('gpu-lab'))).toBe('login.evidence_refused FAILED_PRECONDITION');
    const error = (await login('gpu-lab').catch((cause: RpcError) => cause)) as RpcError;
    expect(error.message).toContain('identity.enclave');
  });

  test('no more enclaves than the limit, on two replicas at once; what is there already stays usable', async () => {
    const results = await Promise.all(Array.from({ length: 12 }, (_, i) => outcome(login(`lab-${i}`, i % 2))));
    expect(results.filter((result) => result === 'enclave.limit RESOURCE_EXHAUSTED')).toHaveLength(12 - LIMIT);
    const there = await names();
    expect(there).toHaveLength(LIMIT);
    for (const name of there) await login(name, 1);
    const error = (await login('one-more').catch((cause: RpcError) => cause)) as RpcError;
    expect(error.message).toBe(`expected ${LIMIT} enclaves at most, got one more: one-more beside ${there.join(', ')}`);
    expect(cluster.of(user)).toHaveLength(LIMIT);
    await remove(there[0]!);
    await login('one-more');
  });

  test('the same new name from two replicas at once is one enclave', async () => {
    await Promise.all(Array.from({ length: 6 }, (_, i) => login('same', i % 2)));
    expect(await names()).toEqual(['same']);
  });

  test("a licence's plan says how many; when it ends, enclaves that are there stay", async () => {
    const licence = await insertLicence(replicas[0].backend.database, { plan: { enclaves: LIMIT + 2 }, accounts: 1 });
    await giveLicence(replicas[0].backend.database, licence, user);
    for (let i = 0; i < LIMIT + 2; i++) await login(`lab-${i}`);
    expect(await outcome(login('more'))).toBe('enclave.limit RESOURCE_EXHAUSTED');
    // Given back, or ended otherwise: what the account has without it counts again.
    await replicas[0].backend.database.query('DELETE FROM licence_redemptions WHERE licence_id = $1', [licence]);
    expect((await list()).limit).toBe(LIMIT);
    await login(`lab-${LIMIT + 1}`);
    expect(await names()).toHaveLength(LIMIT + 2);
  });

  test('stop ends what runs and says what is lost; the next login starts it again', async () => {
    const before = await login('gpu-lab');
    expect(await suspend('gpu-lab')).toEqual({ wasRunning: true, filesKept: true });
    expect(await suspend('gpu-lab')).toEqual({ wasRunning: false, filesKept: true });
    expect(cluster.of(user)).toEqual([`${user}/gpu-lab`]);
    const after = await login('gpu-lab');
    expect(after.result.enclave!.workloadUid).not.toBe(before.result.enclave!.workloadUid);
  });

  test('delete removes it, files and name', async () => {
    await login('gpu-lab');
    await remove('gpu-lab');
    expect(cluster.of(user)).toEqual([]);
    expect(await names()).toEqual([]);
    expect(await outcome(remove('gpu-lab'))).toBe('enclave.not_found NOT_FOUND');
    const audit = (await recordsOf(replicas[0].backend.database)).filter(({ detail }) => detail['user'] === user);
    expect(audit.map(({ kind }) => kind)).toEqual([
      'account.created',
      'enclave.launched',
      'login.granted',
      'enclave.deleted',
    ]);
    expect(JSON.stringify(audit.map(({ detail }) => detail))).not.toContain('gpu-lab');
  });

  test('nobody sees, stops or deletes the enclave of another user, or without a session', async () => {
    await login('gpu-lab');
    const other = await newUser();
    expect(await names(other.token)).toEqual([]);
    for (const call of [suspend, remove])
      expect(await outcome(call('gpu-lab', other.token))).toBe('enclave.not_found NOT_FOUND');
    for (const call of [list(''), suspend('gpu-lab', ''), remove('gpu-lab', '')])
      expect(await outcome(call)).toBe('login.token_missing UNAUTHENTICATED');
    expect(await outcome(list('x'))).toBe('login.token_invalid UNAUTHENTICATED');
    expect(cluster.of(user)).toEqual([`${user}/gpu-lab`]);
  });

  test('a deletion that fails half-way: nobody is led there, deleting again goes on, and so does the service by itself', async () => {
    await login('one');
    await login('two');
    cluster.failing = true;
    for (const name of ['one', 'two']) {
      const error = (await remove(name).catch((cause: RpcError) => cause)) as RpcError;
      expect(error).toMatchObject({ code: 'enclave.not_deleted', grpcStatus: status.UNAVAILABLE });
      expect(error.message).not.toContain('10.0.0.1');
    }
    expect(await names()).toEqual([]);
    expect(await outcome(login('one'))).toBe('enclave.being_deleted UNAVAILABLE');
    cluster.failing = false;
    // Whoever comes next goes on with it: its user, by either command, or the service by itself.
    await login('one');
    await remove('one', token, 1);
    const { database } = replicas[0].backend;
    await finishDeletions(database, replicas[0].enclaves, replicas[0].launcher);
    expect(cluster.of(user)).toEqual([`${user}/two`]);
    await database.query(`UPDATE enclaves SET deleting_at = now() - interval '10 minutes' WHERE user_id = $1`, [user]);
    await Promise.all(replicas.map((replica) => finishDeletions(database, replica.enclaves, replica.launcher)));
    expect(cluster.of(user)).toEqual([]);
    await login('two');
  });

  test('what one replica has finished deleting and its user has made anew, another one that saw it unfinished leaves alone', async () => {
    const { database } = replicas[0].backend;
    for (const name of ['one', 'two']) await login(name);
    cluster.failing = true;
    for (const name of ['one', 'two']) await outcome(remove(name));
    cluster.failing = false;
    await database.query(
      `UPDATE enclaves SET deleting_at = now() - interval '10 minutes' * (CASE name WHEN 'one' THEN 2 ELSE 1 END) WHERE user_id = $1`,
      [user],
    );
    let [reached, goOn] = [(): void => undefined, (): void => undefined];
    const atTheFirst = new Promise<void>((resolve) => (reached = resolve));
    const released = new Promise<void>((resolve) => (goOn = resolve));
    const slow = {
      ...fakeLauncher(cluster.launcher),
      async remove(enclave: EnclaveId) {
        reached();
        await released;
        await cluster.launcher.remove!(enclave);
      },
    };
    // Busy with the first one, and knows of the second.
    const finishing = finishDeletions(database, replicas[1].enclaves, slow);
    await atTheFirst;
    await login('two');
    expect(cluster.of(user)).toContain(`${user}/two`);
    goOn();
    await finishing;
    expect(cluster.of(user)).toEqual([`${user}/two`]);
    expect(await names()).toEqual(['two']);
  });

  test('one that is deleted while it starts is not handed out, and nothing of it stays', async () => {
    await login('gpu-lab');
    await suspend('gpu-lab');
    cluster.beforeStart = async () => void (await remove('gpu-lab', token, 1));
    expect(await outcome(login('gpu-lab'))).toBe('enclave.being_deleted UNAVAILABLE');
    expect(cluster.of(user)).toEqual([]);
    expect(await names()).toEqual([]);
  });

  test('a new one whose start fails leaves nothing behind and does not count; one that was there stays', async () => {
    cluster.beforeStart = () => Promise.reject(new Error('no node'));
    expect(await outcome(login('gpu-lab'))).toBe('internal INTERNAL');
    expect(await names()).toEqual([]);
    expect(cluster.asked).toEqual([`remove ${user}/gpu-lab`]);
    cluster.beforeStart = () => Promise.resolve();
    await login('gpu-lab');
    cluster.beforeStart = () => Promise.reject(new Error('no node'));
    await outcome(login('gpu-lab'));
    expect(await names()).toEqual(['gpu-lab']);
    expect(cluster.of(user)).toEqual([`${user}/gpu-lab`]);
  });

  test('what runs is not known while the cluster is away, and that is said without its address', async () => {
    await login('gpu-lab');
    const { find } = cluster.launcher;
    cluster.launcher.find = () => Promise.reject(new Error('connect ECONNREFUSED 10.0.0.1'));
    replicas[0].launcher.find = cluster.launcher.find;
    const error = (await list().catch((cause: RpcError) => cause)) as RpcError;
    replicas[0].launcher.find = find!;
    cluster.launcher.find = find;
    expect(error).toMatchObject({ code: 'enclave.state_unknown', grpcStatus: status.UNAVAILABLE });
    expect(error.message).not.toContain('10.0.0.1');
  });
}

describe('named enclaves on embedded PostgreSQL', () => contract(startEmbeddedTestPostgres));
(noPostgres === undefined ? describe : describe.skip)('named enclaves on PostgreSQL', () => contract(migratedDatabase));
