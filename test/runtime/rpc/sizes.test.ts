import { credentials, status } from '@grpc/grpc-js';
import { callUnary } from '../../../runtime/rpc/client';
import { unary } from '../../../runtime/rpc/handlers';
import { RULES } from '../../../runtime/rpc/rules';
import { startServer } from '../../../runtime/rpc/server';
import type { RunningServer } from '../../../runtime/rpc/server';
import { TransparencyServiceClient, TransparencyServiceService } from '../../../proto/gen/licensing/v1/transparency';

const MOST = RULES['/licensing.v1.TransparencyService/GetTreeHead'].cost.answerBytes;

let server: RunningServer;
let client: TransparencyServiceClient;
let headBytes = 0;
beforeAll(async () => {
  server = await startServer({
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    services: [
      {
        definition: TransparencyServiceService,
        implementation: {
          getTreeHead: unary(() => Promise.resolve({ head: 'h'.repeat(headBytes) })),
          getInclusionProof: unary(() => Promise.resolve({ sequence: 0n, path: [] })),
          getConsistencyProof: unary(() => Promise.resolve({ path: [] })),
        },
      },
    ],
  });
  client = new TransparencyServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
});
afterAll(async () => {
  client.close();
  await server.stop(0);
});

test('an answer is as large as its rule lets it be, and no larger', async () => {
  const ask = () => callUnary(client, client.getTreeHead, { atLeast: 0n }, { timeout: 120_000 });
  // Tag and length come before the text.
  headBytes = MOST - 3;
  expect((await ask()).head).toHaveLength(headBytes);
  headBytes = MOST - 2;
  await expect(ask().then(({ head }) => head.length)).rejects.toMatchObject({ grpcStatus: status.INTERNAL });
});
