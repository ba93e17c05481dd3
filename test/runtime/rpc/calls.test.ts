import { credentials, Metadata, status } from '@grpc/grpc-js';
import type { CallContext, Interceptor } from '../../../runtime/rpc/call';
import { callUnary } from '../../../runtime/rpc/client';
import { RpcError } from '../../../runtime/rpc/errors';
import { unary } from '../../../runtime/rpc/handlers';
import { startServer } from '../../../runtime/rpc/server';
import type { RunningServer, ServerOptions } from '../../../runtime/rpc/server';
import { silent } from '../../../runtime/log/log';
import { TrustServiceClient, TrustServiceService } from '../../../proto/gen/licensing/v1/trust';

const running: RunningServer[] = [];
const clients: TrustServiceClient[] = [];
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await Promise.all(running.splice(0).map((server) => server.stop(0)));
});

async function serve(
  handle: (context: CallContext) => Promise<{ bundle: string }>,
  options: Partial<ServerOptions> = {},
): Promise<() => Promise<string>> {
  const implementation = {
    getTrustBundle: unary((_request, context) => handle(context)),
    getRevocations: unary(() => Promise.reject(new Error('not asked for'))),
  };
  const server = await startServer({
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    services: [{ definition: TrustServiceService, implementation }],
    ...options,
  });
  running.push(server);
  const client = new TrustServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
  clients.push(client);
  const metadata = new Metadata();
  metadata.set('greeting', 'hello');
  return async () => (await callUnary(client, client.getTrustBundle, {}, { timeout: 5_000, metadata })).bundle;
}

const METHOD = TrustServiceService.getTrustBundle.path;
const refusal = new RpcError('seat.other_session', status.PERMISSION_DENIED, 'no');

test('a call passes the interceptors from the first to the last, and its answer comes back the other way', async () => {
  const steps: string[] = [];
  const noting =
    (name: string): Interceptor =>
    async (context, next) => {
      steps.push(`${name} before ${context.method}`);
      const answer = await next();
      steps.push(`${name} after`);
      return answer;
    };
  const call = await serve(
    async ({ metadata }) => {
      steps.push(`handler ${String(metadata.get('greeting')[0])}`);
      return { bundle: 'b' };
    },
    { interceptors: [noting('first'), noting('second')] },
  );
  expect(await call()).toBe('b');
  expect(steps).toEqual([
    `first before ${METHOD}`,
    `second before ${METHOD}`,
    'handler hello',
    'second after',
    'first after',
  ]);
});

test('each call has a context of its own, which its handler and interceptors share', async () => {
  const users: Array<string | undefined> = [];
  let calls = 0;
  const seeing: Interceptor = async (context, next) => {
    users.push(context.user);
    try {
      return await next();
    } finally {
      users.push(context.user);
    }
  };
  const call = await serve(
    async (context) => {
      if (++calls === 1) context.user = 'ada';
      return { bundle: '' };
    },
    { interceptors: [seeing] },
  );
  await call();
  await call();
  expect(users).toEqual([undefined, 'ada', undefined, undefined]);
});

test('an interceptor sees what a handler refuses, and can refuse before it', async () => {
  const seen: unknown[] = [];
  const watching: Interceptor = (_context, next) =>
    next().catch((error: unknown) => {
      seen.push(error);
      throw error;
    });
  const handled = jest.fn(() => Promise.reject(refusal));
  const call = await serve(handled, { interceptors: [watching] });
  await expect(call()).rejects.toMatchObject({ code: 'seat.other_session', grpcStatus: status.PERMISSION_DENIED });
  expect(seen).toEqual([refusal]);
  expect(handled).toHaveBeenCalledTimes(1);

  const shut = await serve(handled, { interceptors: [() => Promise.reject(refusal)] });
  await expect(shut()).rejects.toMatchObject({ code: 'seat.other_session' });
  expect(handled).toHaveBeenCalledTimes(1);
});

test('the log that the server was given hears of refusals and failures, and the caller of no more than their codes', async () => {
  const log = { ...silent, info: jest.fn(), error: jest.fn() };
  const refused = await serve(() => Promise.reject(refusal), { log });
  await expect(refused()).rejects.toMatchObject({ code: 'seat.other_session' });
  expect(log.info).toHaveBeenCalledWith({ method: METHOD, code: 'seat.other_session' }, 'refused');
  const failure = new Error('where the keys are');
  const failed = await serve(() => Promise.reject(failure), { log });
  await expect(failed()).rejects.toMatchObject({ code: 'internal', message: expect.not.stringContaining('keys') });
  expect(log.error).toHaveBeenCalledWith({ method: METHOD, err: failure }, 'failed');
});

test('a server that was given no log says nothing', async () => {
  const written = [process.stdout, process.stderr].map((stream) => jest.spyOn(stream, 'write'));
  try {
    const call = await serve(() => Promise.reject(new Error('out of order')));
    await expect(call()).rejects.toMatchObject({ code: 'internal' });
    for (const write of written) expect(write).not.toHaveBeenCalled();
  } finally {
    for (const write of written) write.mockRestore();
  }
});
