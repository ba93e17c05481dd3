import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { status } from '@grpc/grpc-js';
import { RpcError } from '../../../runtime/rpc/errors';
import { eventually, stalled } from '../../support/eventually';
import { byToken, logIn, loginRequest } from '../../support/login-client';
import { LoginUnderTest, ToldLauncher } from '../../support/login-service';

let service: LoginUnderTest;
beforeAll(async () => {
  service = await LoginUnderTest.start();
});
afterAll(() => service.stop());
beforeEach(() => service.beginTest());
afterEach(() => service.endTest());

/** Resolves once somebody has tried to connect to the port, where they found nobody who stayed. */
async function knockedAt(port: number): Promise<void> {
  const nobody = createServer((socket) => socket.destroy()).listen(port, '127.0.0.1');
  await once(nobody, 'connection');
  await new Promise((resolve) => nobody.close(resolve));
}

describe('an enclave', () => {
  const identityLost = (): never => {
    throw new RpcError(
      'enclave.identity_refused',
      status.FAILED_PRECONDITION,
      "the attestor refused this enclave's identity",
    );
  };

  test('that lost its identity is discarded and started once more', async () => {
    const good = await service.enclave();
    const lost = await service.enclave({ before: identityLost });
    service.launcher.next = () =>
      Promise.resolve(service.launcher.ensured === 1 ? lost.location : { ...good.location, started: true });
    const { result } = await logIn(service.client, loginRequest(service.key, byToken(service.token)));
    expect(result.enclave?.workloadUid).toBe(good.location.workloadUid);
    expect(service.launcher.discarded).toEqual([lost.location]);
  });

  test('that lost its identity twice is a clear refusal, and no third start', async () => {
    await service.enclave({ before: identityLost });
    const error = await service.refusalOf(loginRequest(service.key, byToken(service.token)));
    expect(error).toMatchObject({ code: 'login.enclave_unavailable', grpcStatus: status.UNAVAILABLE });
    expect(service.launcher.ensured).toBe(2);
  });

  test('that cannot be discarded is asked for again all the same', async () => {
    const good = await service.enclave();
    const lost = await service.enclave({ before: identityLost });
    service.launcher.next = () =>
      Promise.resolve(service.launcher.ensured === 1 ? lost.location : { ...good.location, started: true });
    service.launcher.discard = () =>
      Promise.reject(new RpcError('rpc.unavailable', status.UNAVAILABLE, 'connect ENOENT unix:/inner/path'));
    const { result } = await logIn(service.client, loginRequest(service.key, byToken(service.token)));
    expect(result.enclave?.workloadUid).toBe(good.location.workloadUid);
  });

  test('that was said to run and is not there is discarded and started once more', async () => {
    const gone = await service.enclave();
    await gone.stop();
    const good = await service.enclave();
    service.launcher.next = () =>
      Promise.resolve(service.launcher.ensured === 1 ? gone.location : { ...good.location, started: true });
    const { result } = await logIn(service.client, loginRequest(service.key, byToken(service.token)));
    expect(result.enclave?.workloadUid).toBe(good.location.workloadUid);
    expect(service.launcher.discarded).toEqual([gone.location]);
  });

  test('whose port serves somebody else by now is discarded and started once more', async () => {
    const good = await service.enclave();
    const other = await service.enclave({ user: randomUUID() });
    service.launcher.next = () =>
      Promise.resolve(service.launcher.ensured === 1 ? other.location : { ...good.location, started: true });
    const { result } = await logIn(service.client, loginRequest(service.key, byToken(service.token)));
    expect(result.enclave?.workloadUid).toBe(good.location.workloadUid);
  });

  test('that comes up slowly is waited for', async () => {
    const first = await service.enclave();
    await first.stop();
    const { location } = first;
    service.launcher.next = () => Promise.resolve({ ...location, started: true });
    const port = Number(new URL(location.endpoint).port);
    const login = logIn(service.client, loginRequest(service.key, byToken(service.token)));
    await knockedAt(port);
    const late = await service.enclave({ port, claims: { workloadUid: location.workloadUid } });
    expect((await login).result.enclave?.workloadUid).toBe(location.workloadUid);
    expect(service.launcher.discarded).toEqual([]);
    expect(late.calls()).toBe(1);
  });

  test('whose attestor is away for a moment is waited for', async () => {
    let failures = 2;
    await service.enclave({
      before: () => {
        if (failures-- > 0)
          throw new RpcError('enclave.attestor_unavailable', status.UNAVAILABLE, 'the attestor does not answer');
      },
    });
    await logIn(service.client, loginRequest(service.key, byToken(service.token)));
    expect(service.launcher.discarded).toEqual([]);
  });

  test('that never answers is a refusal that names no address', async () => {
    const gone = await service.enclave();
    await gone.stop();
    const error = await service.refusalOf(loginRequest(service.key, byToken(service.token)));
    expect(error).toMatchObject({ code: 'login.enclave_unavailable', grpcStatus: status.UNAVAILABLE });
    expect(error.message).toContain("doesn't answer");
    expect(error.message).not.toMatch(/127\.0\.0\.1|\d{4,}|ECONN/);
  });

  test('that answers for another workload or node than the launcher said is asked for again, then refused', async () => {
    for (const said of [{ workloadUid: randomUUID() }, { node: 'node-b' }]) {
      service.launcher = new ToldLauncher();
      const { location } = await service.enclave();
      service.launcher.next = () => Promise.resolve({ ...location, ...said });
      expect(await service.refusal(loginRequest(service.key, byToken(service.token)))).toBe(
        'login.enclave_unavailable UNAVAILABLE',
      );
      expect(service.launcher.ensured).toBe(2);
      expect(service.launcher.discarded).toEqual([]);
    }
  });

  test('whose evidence is about another node than its TPM is of is discarded, started once more, and refused', async () => {
    await service.enclave({ claims: { node: 'node-b' } });
    expect(await service.refusal(loginRequest(service.key, byToken(service.token)))).toBe(
      'login.evidence_refused FAILED_PRECONDITION',
    );
    expect(service.launcher.ensured).toBe(2);
    expect(service.launcher.discarded).toHaveLength(1);
  });

  test('whose place the launcher does not know is taken from its evidence', async () => {
    const { location } = await service.enclave();
    service.launcher.next = () => Promise.resolve({ ...location, workloadUid: '', node: '' });
    const { result } = await logIn(service.client, loginRequest(service.key, byToken(service.token)));
    expect(result.enclave).toMatchObject({ workloadUid: location.workloadUid, node: 'node-a' });
  });

  test('that cannot be started is a refusal with the reason', async () => {
    service.launcher.next = () =>
      Promise.reject(new RpcError('login.enclave_unavailable', status.UNAVAILABLE, 'no node with a TPM has room'));
    const error = await service.refusalOf(loginRequest(service.key, byToken(service.token)));
    expect(error).toMatchObject({
      code: 'login.enclave_unavailable',
      grpcStatus: status.UNAVAILABLE,
      message: 'no node with a TPM has room',
    });
  });

  test.each(['login.revoked', 'licence.expired'] as const)(
    "that borrows the service's own word %s is not taken for it",
    async (code) => {
      await service.enclave({
        before() {
          throw new RpcError(code, status.UNAUTHENTICATED, 'your account is revoked');
        },
      });
      expect(await service.refusal(loginRequest(service.key, byToken(service.token)))).toBe(
        'login.enclave_unavailable UNAVAILABLE',
      );
      expect(service.launcher.discarded).toEqual([]);
    },
  );

  test("is never the reason for an inner error's text to get out", async () => {
    service.launcher.next = () => Promise.reject(new Error('secret inner detail'));
    const error = await service.refusalOf(loginRequest(service.key, byToken(service.token)));
    expect(error).toMatchObject({ code: 'internal', grpcStatus: status.INTERNAL });
    expect(error.message).not.toContain('secret');
  });
});

describe('a caller that is gone', () => {
  test.each(['cancelled', 'past its deadline'])('(%s) stops the wait for the enclave', async (how) => {
    const ended = new Promise<unknown>((resolve) => {
      service.launcher.next = ({ signal }) =>
        new Promise((_, reject) =>
          signal.addEventListener('abort', () => {
            resolve(signal.reason);
            reject(signal.reason as Error);
          }),
        );
    });
    const controller = new AbortController();
    const login = logIn(
      service.client,
      loginRequest(service.key, byToken(service.token)),
      how === 'cancelled' ? { signal: controller.signal } : { timeout: 3_000 },
    );
    login.catch(() => undefined);
    if (how === 'cancelled') {
      await eventually(() => service.launcher.ensured === 1);
      controller.abort();
    }
    await expect(login).rejects.toMatchObject({
      grpcStatus: how === 'cancelled' ? status.CANCELLED : status.DEADLINE_EXCEEDED,
    });
    expect(await ended).toMatchObject({ code: 'rpc.cancelled' });
  });

  test('stops the tries to reach the enclave, and nothing is discarded', async () => {
    const gone = await service.enclave();
    await gone.stop();
    service.launcher.next = () => Promise.resolve({ ...gone.location, started: true });
    const controller = new AbortController();
    const login = logIn(service.client, loginRequest(service.key, byToken(service.token)), {
      signal: controller.signal,
    });
    login.catch(() => undefined);
    let tries = 0;
    const nobody = createServer((socket) => {
      tries += 1;
      socket.destroy();
    }).listen(Number(new URL(gone.location.endpoint).port), '127.0.0.1');
    await eventually(() => tries > 0);
    controller.abort();
    await expect(login).rejects.toMatchObject({ grpcStatus: status.CANCELLED });
    await stalled(() => tries);
    nobody.close();
    expect(service.launcher).toMatchObject({ ensured: 1, discarded: [] });
    await service.enclave();
    await logIn(service.client, loginRequest(service.key, byToken(service.token)));
  });
});
