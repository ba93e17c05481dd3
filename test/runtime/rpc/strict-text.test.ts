import { Client, credentials, Metadata, status } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import { AccountServiceClient, AccountServiceService, SignUpRequest } from '../../../proto/gen/licensing/v1/account';
import type { AccountServiceServer } from '../../../proto/gen/licensing/v1/account';
import { callUnary } from '../../../runtime/rpc/client';
import { REASON_KEY } from '../../../runtime/rpc/errors';
import { unary } from '../../../runtime/rpc/handlers';
import type { Implementation } from '../../../runtime/rpc/handlers';
import { startServer } from '../../../runtime/rpc/server';
import type { RunningServer } from '../../../runtime/rpc/server';

const PASSWORD = 'corrXct horse battery staple';
const seen: string[] = [];
let server: RunningServer;
let target: string;
beforeAll(async () => {
  const implementation = {
    signUp: unary(({ password }: SignUpRequest) => {
      seen.push(password);
      return Promise.resolve({ accessToken: '', expiresAt: 0n, refreshToken: '', refreshTokenExpiresAt: 0n });
    }),
  } as unknown as Implementation<AccountServiceServer>;
  server = await startServer({
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    services: [{ definition: AccountServiceService, implementation }],
    authenticate: () => Promise.resolve(),
  });
  target = `127.0.0.1:${server.port}`;
});
afterAll(() => server.stop(0));
beforeEach(() => seen.splice(0));

/** As a client of another make would send it, its X replaced. */
async function send(...bytes: number[]): Promise<ServiceError | null> {
  const message = Buffer.from(SignUpRequest.encode({ username: 'eve', password: PASSWORD, clientName: '' }).finish());
  const at = message.indexOf('X');
  bytes.forEach((byte, offset) => (message[at + offset] = byte));
  const client = new Client(target, credentials.createInsecure());
  const path = AccountServiceService.signUp.path;
  const asItIs = (raw: Buffer): Buffer => raw;
  try {
    return await new Promise((resolve) =>
      client.makeUnaryRequest(path, asItIs, asItIs, message, new Metadata(), (error) => resolve(error)),
    );
  } finally {
    client.close();
  }
}

test.each([
  ['a byte of ISO 8859-1', [0xe9]],
  ['a surrogate', [0xed, 0xa0, 0x80]],
])('a server refuses text with %s, which its method never sees', async (_, bytes) => {
  const refusal = await send(...bytes);
  expect(refusal).toMatchObject({ code: status.INVALID_ARGUMENT });
  expect(refusal?.metadata.get(REASON_KEY)).toEqual(['rpc.malformed']);
  expect(seen).toEqual([]);
});

test('text in UTF-8 arrives as it was sent', async () => {
  expect(await send(0xc3, 0xa9)).toBeNull();
  expect(seen).toEqual(['corrét horse battery staple']);
});

test('a client sends no text that UTF-8 can not hold', async () => {
  const client = new AccountServiceClient(target, credentials.createInsecure());
  const request = { username: 'eve', password: 'corr\ud800ct horse', clientName: '' };
  await expect(callUnary(client, client.signUp, request, { timeout: 10_000 })).rejects.toThrow('lone surrogate');
  expect(seen).toEqual([]);
  client.close();
});
