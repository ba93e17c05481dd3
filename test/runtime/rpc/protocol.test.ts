import { credentials, Metadata } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import { toCliError } from '../../../client/cli/failure';
import { TrustServiceClient, TrustServiceService } from '../../../proto/gen/licensing/v1/trust';
import { callUnary } from '../../../runtime/rpc/client';
import { unary } from '../../../runtime/rpc/handlers';
import { PROTOCOL } from '../../../runtime/rpc/protocol';
import type { Protocol } from '../../../runtime/rpc/protocol';
import { startServer } from '../../../runtime/rpc/server';
import type { RunningServer } from '../../../runtime/rpc/server';

let server: RunningServer;
let client: TrustServiceClient;
let heard: unknown[];
async function serve(protocol?: Protocol): Promise<void> {
  heard = [];
  server = await startServer({
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    services: [
      {
        definition: TrustServiceService,
        implementation: {
          getTrustBundle: unary((_request, { metadata }) => {
            heard.push(metadata.get('sls-protocol')[0]);
            return Promise.resolve({ bundle: 'b' });
          }),
          getRevocations: unary(() => Promise.reject(new Error('not asked for'))),
        },
      },
    ],
    ...(protocol && { protocol }),
  });
  client = new TrustServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
}
afterEach(async () => {
  client.close();
  await server.stop(0);
});

/** As a client of this release does it. */
const call = (): Promise<unknown> => callUnary(client, client.getTrustBundle, {}, { timeout: 5_000 });
/** As one does that says this about itself. */
const saying = (text?: string): Promise<ServiceError | undefined> => {
  const metadata = new Metadata();
  if (text !== undefined) metadata.set('sls-protocol', text);
  return new Promise((resolve) => client.getTrustBundle({}, metadata, (error) => resolve(error ?? undefined)));
};

test('each call says what its program speaks', async () => {
  await serve();
  await call();
  expect(heard).toEqual([`${PROTOCOL.oldest}-${PROTOCOL.newest}`]);
});

test('a client that is too old is told so, and what the service speaks', async () => {
  await serve({ oldest: 2, newest: 3 });
  await expect(call()).toRejectWithCode('rpc.client_too_old', {
    message: 'expected a client of protocol 2 or later, got one of protocol 1',
  });
  expect((await saying('1-1'))?.metadata.get('sls-protocol')).toEqual(['2-3']);
  expect(heard).toEqual([]);
  const { exitCode, details } = toCliError(await call().catch((error: unknown) => error));
  expect([exitCode, details.hint]).toEqual([1, expect.stringContaining('install a newer one')]);
});

test('a client that is too new is told so', async () => {
  await serve({ oldest: 0, newest: 0 });
  await expect(call()).toRejectWithCode('rpc.client_too_new', {
    message: 'expected a client of protocol 0 or earlier, got one of protocol 1',
  });
  const { exitCode, details } = toCliError(await call().catch((error: unknown) => error));
  expect([exitCode, details.hint]).toEqual([1, expect.stringContaining('ask your operator to update it')]);
});

test.each([undefined, '', 'x', '1', '-', '1-', '9-9; more', '1-9', '3-9', '2-2', '1-2'])(
  'a client that says %j about itself goes on',
  async (text) => {
    await serve({ oldest: 2, newest: 3 });
    expect(await saying(text)).toBeUndefined();
  },
);
