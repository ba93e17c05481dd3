import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { RpcError } from '../../../../runtime/rpc/errors';
import { unary } from '../../../../runtime/rpc/handlers';
import { startServer } from '../../../../runtime/rpc/server';
import type { RunningServer } from '../../../../runtime/rpc/server';
import { ProcessLauncher } from '../../../../functions/login/launcher/process';
import type {
  EnsureEnclaveResponse,
  LauncherServiceServer,
  RemoveEnclaveRequest,
  StopEnclaveRequest,
} from '../../../../proto/gen/licensing/v1/launcher';
import { LauncherServiceService } from '../../../../proto/gen/licensing/v1/launcher';
import { LoginStage } from '../../../../proto/gen/licensing/v1/login';
import { TestClock } from '../../../support/clock';
import type { Implementation } from '../../../../runtime/rpc/handlers';

const user = '6b3c9a52-6e0e-4a3e-9df1-5c9d6f0f2a11';
const id = { user, name: 'lab' };
const running: EnsureEnclaveResponse = {
  workloadUid: 'w-1',
  node: 'node-a',
  endpoint: 'http://127.0.0.1:1',
  tlsAddress: '127.0.0.1:2',
  started: false,
};

let folder: string;
let server: RunningServer;
let launcher: ProcessLauncher;
const clock = new TestClock();
let answer: (signal: AbortSignal) => Promise<EnsureEnclaveResponse>;
const stopped: StopEnclaveRequest[] = [];
const removed: RemoveEnclaveRequest[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sls-launcher-'));
  const path = join(folder, 'launcher.sock');
  const implementation: Implementation<LauncherServiceServer> = {
    ensureEnclave: unary((_request, { signal }) => answer(signal)),
    stopEnclave: unary((request) => {
      stopped.push(request);
      return Promise.resolve({});
    }),
    findEnclaves: unary(() => Promise.resolve({ node: 'node-a', running: ['default', 'lab'] })),
    removeEnclave: unary((request) => {
      removed.push(request);
      return Promise.resolve({});
    }),
  };
  server = await startServer({
    address: { scheme: 'unix', path },
    services: [{ definition: LauncherServiceService, implementation }],
  });
  launcher = new ProcessLauncher({ scheme: 'unix', path }, clock);
});

afterAll(async () => {
  launcher.close();
  await server.stop(0);
  await rm(folder, { recursive: true, force: true });
});

async function ensure(
  signal = new AbortController().signal,
  from = launcher,
): Promise<{ enclave: unknown; stages: LoginStage[] }> {
  const stages: LoginStage[] = [];
  return { enclave: await from.ensure(id, { onStage: (stage) => stages.push(stage), signal }), stages };
}

test('an enclave that runs is answered without a stage, one that has to start with one', async () => {
  answer = () => Promise.resolve(running);
  expect(await ensure()).toEqual({ enclave: running, stages: [] });
  let start = (): void => undefined;
  const started = new Promise<void>((resolve) => (start = resolve));
  answer = () => started.then(() => ({ ...running, started: true }));
  const ensured = ensure();
  await clock.advance(100);
  start();
  expect(await ensured).toEqual({ enclave: { ...running, started: true }, stages: [LoginStage.LOGIN_STAGE_STARTING] });
});

test("the launcher's own words reach the user, an inner error's do not", async () => {
  answer = () =>
    Promise.reject(
      new RpcError('launcher.enclave_failed', status.RESOURCE_EXHAUSTED, 'too many enclaves run on this machine'),
    );
  await expect(ensure()).toRejectWithCode('login.enclave_unavailable', { grpcStatus: status.UNAVAILABLE });
  await expect(ensure()).rejects.toThrow('too many enclaves run on this machine');
  answer = () => Promise.reject(new Error('spawn /inner/path ENOENT'));
  await expect(ensure()).rejects.toThrow(
    expect.objectContaining({
      code: 'login.enclave_unavailable',
      message: expect.not.stringContaining('/inner') as string,
    }),
  );
});

test('a launcher that is away is a refusal that names no path', async () => {
  const away = new ProcessLauncher({ scheme: 'unix', path: join(folder, 'nobody.sock') });
  const refused = ensure(undefined, away);
  await expect(refused).toRejectWithCode('login.enclave_unavailable');
  await expect(refused).rejects.not.toThrow(folder);
  away.close();
});

test('a caller that is gone ends the wait on both sides', async () => {
  const controller = new AbortController();
  const ended = new Promise<void>((resolve) => {
    answer = (signal) => {
      controller.abort(new Error('the caller is gone'));
      return new Promise((_, reject) =>
        signal.addEventListener('abort', () => (resolve(), reject(signal.reason as Error))),
      );
    };
  });
  await expect(ensure(controller.signal)).rejects.toThrow('the caller is gone');
  await ended;
});

test('an enclave is discarded by its own UID, and stopped whichever it is', async () => {
  await launcher.discard(id, running);
  await launcher.stop(id);
  expect(stopped).toEqual([
    { ...id, workloadUid: 'w-1' },
    { ...id, workloadUid: '' },
  ]);
});

test('what runs is found by name; one is removed, or all of a user', async () => {
  expect(await launcher.find(user, ['lab', 'other'])).toEqual(new Map([['lab', { serves: true, node: 'node-a' }]]));
  await launcher.remove(id);
  await launcher.removeAll(user);
  expect(removed).toEqual([id, { user, name: '' }]);
});
