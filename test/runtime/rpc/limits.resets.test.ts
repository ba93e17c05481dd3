import { once } from 'node:events';
import type { Socket } from 'node:net';
import { credentials, status } from '@grpc/grpc-js';
import { callUnary } from '../../../runtime/rpc/client';
import { RpcError } from '../../../runtime/rpc/errors';
import { unary } from '../../../runtime/rpc/handlers';
import { startServer } from '../../../runtime/rpc/server';
import type { RunningServer } from '../../../runtime/rpc/server';
import { TrustServiceClient, TrustServiceService } from '../../../proto/gen/licensing/v1/trust';
import { TestClock } from '../../support/clock';
import { PING, resets, say, seenOrClosed } from '../../support/resets';

/** Good clients come from 127.0.0.1. */
const STRANGER = '127.0.0.2';
const MISUSES = 100;
/** Below what Node's HTTP/2 itself ends a connection for. */
const CALLS = 900;

const clock = new TestClock();
const sockets: Socket[] = [];
let server: RunningServer;
let begun = 0;
beforeEach(async () => {
  begun = 0;
  const implementation = {
    getTrustBundle: unary(() => Promise.resolve({ bundle: 'here' })),
    getRevocations: unary(() => {
      begun += 1;
      return Promise.reject(
        new RpcError('rpc.malformed', status.INVALID_ARGUMENT, 'nothing that anybody sends is right'),
      );
    }),
  };
  server = await startServer({
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    services: [{ definition: TrustServiceService, implementation }],
    limits: { misuses: MISUSES },
    clock,
  });
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await server.stop(0);
});

function knock(bytes: Buffer, localAddress = STRANGER): Socket {
  const socket = say(server.port, localAddress, bytes);
  sockets.push(socket);
  return socket;
}

/** Whether the server talks to an address. */
async function isOpenTo(localAddress: string): Promise<boolean> {
  const socket = knock(PING, localAddress);
  await seenOrClosed(socket);
  return !socket.destroyed && !socket.readableEnded;
}

async function bundle(): Promise<string> {
  const client = new TrustServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
  try {
    return (await callUnary(client, client.getTrustBundle, {}, { timeout: 120_000 })).bundle;
  } finally {
    client.close();
  }
}

test.each([
  ['that are refused at once', TrustServiceService.getRevocations.path],
  ['that are answered at once', TrustServiceService.getTrustBundle.path],
  ['of a method that there is not', '/licensing.v1.TrustService/Nothing'],
])('calls %s and reset in the same breath are given up: the address loses all of its connections', async (_, path) => {
  const besides = knock(PING);
  await seenOrClosed(besides);
  const closed = once(besides, 'close');
  await seenOrClosed(knock(Buffer.concat([resets(path, CALLS).each, PING])));
  expect(await isOpenTo(STRANGER)).toBe(false);
  await closed;
  // What the same reading brought besides is not answered.
  expect(begun).toBeLessThan(2 * MISUSES);
  expect(await isOpenTo('127.0.0.3')).toBe(true);
  expect(await bundle()).toBe('here');
  await clock.advance(5_000);
  expect(await isOpenTo(STRANGER)).toBe(true);
});

test('as many as an address may give up are nothing', async () => {
  const socket = knock(Buffer.concat([resets(TrustServiceService.getRevocations.path, MISUSES).each, PING]));
  await seenOrClosed(socket);
  expect(begun).toBe(MISUSES);
  expect(await isOpenTo(STRANGER)).toBe(true);
});

test('calls that are refused and waited for are not given up', async () => {
  const { begun: calls } = resets(TrustServiceService.getRevocations.path, MISUSES);
  for (let connection = 0; connection < 3; connection += 1) await seenOrClosed(knock(Buffer.concat([calls, PING])));
  expect(await isOpenTo(STRANGER)).toBe(true);
});
