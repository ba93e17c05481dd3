import { execFileSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { credentials, Metadata, status } from '@grpc/grpc-js';
import type { Implementation } from '../../../runtime/rpc/handlers';
import { callUnary } from '../../../runtime/rpc/client';
import { RpcError } from '../../../runtime/rpc/errors';
import { serverStream, unary } from '../../../runtime/rpc/handlers';
import { RULES } from '../../../runtime/rpc/rules';
import { startServer } from '../../../runtime/rpc/server';
import type { RunningServer } from '../../../runtime/rpc/server';
import { AccountServiceClient, AccountServiceService } from '../../../proto/gen/licensing/v1/account';
import { AttestorServiceService } from '../../../proto/gen/licensing/v1/attestor';
import { LoginServiceClient, LoginServiceService } from '../../../proto/gen/licensing/v1/login';
import { TestClock } from '../../support/clock';
import type { Clock } from '../../../runtime/clock';

const root = resolve(__dirname, '../../..');
const ADDRESS = { scheme: 'http', host: '127.0.0.1', port: 0 } as const;
let running: RunningServer[] = [];

afterEach(async () => {
  await Promise.all(running.map((server) => server.stop(0)));
  running = [];
});

interface Descriptors {
  file: Array<{ package: string; service?: Array<{ name: string; method?: Array<{ name: string }> }> }>;
}

/** Every method of the .proto files, as on the wire. */
function methodsOfContracts(): string[] {
  const image = execFileSync(join(root, 'node_modules/.bin/buf'), ['build', '-o', '-#format=json'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  const { file } = JSON.parse(image) as Descriptors;
  return file.flatMap((proto) =>
    (proto.service ?? []).flatMap(({ name, method = [] }) =>
      method.map((rpc) => `/${proto.package}.${name}/${rpc.name}`),
    ),
  );
}

test('each method of the contracts has its rule in runtime/rpc/rules.ts, and nothing else has', () => {
  expect(Object.keys(RULES).sort()).toEqual(methodsOfContracts().sort());
});

test('the numbers of every rule are such that they bound something', () => {
  for (const [method, { timeout, requestBytes }] of Object.entries(RULES)) {
    const bound = typeof timeout === 'string' ? 1 : 'deadlineMs' in timeout ? timeout.deadlineMs : timeout.idleMs;
    expect({ method, ok: bound >= 1 && bound <= 300_000 && requestBytes >= 64 && requestBytes <= 1024 * 1024 }).toEqual(
      { method, ok: true },
    );
  }
});

async function serve(
  definition: typeof AccountServiceService | typeof LoginServiceService,
  implementation: object,
  clock?: Clock,
): Promise<string> {
  const server = await startServer({
    address: ADDRESS,
    services: [{ definition, implementation: implementation as Implementation }],
    authenticate: () => Promise.resolve(),
    clock,
  });
  running.push(server);
  return `127.0.0.1:${server.port}`;
}

test('a server does not start with a method that has no rule', async () => {
  const unruled = {
    ...AccountServiceService,
    signUp: { ...AccountServiceService.signUp, path: '/licensing.v1.AccountService/SignOver' },
  };
  await expect(
    startServer({ address: ADDRESS, services: [{ definition: unruled, implementation: {} }] }),
  ).rejects.toThrow('/licensing.v1.AccountService/SignOver has no rule');
});

test('what is for callers on a unix socket is served to no network', async () => {
  await expect(
    startServer({ address: ADDRESS, services: [{ definition: AttestorServiceService, implementation: {} }] }),
  ).rejects.toThrow('unix socket');
});

test('a server does not start with a method for access tokens where nothing checks them', async () => {
  await expect(
    startServer({ address: ADDRESS, services: [{ definition: AccountServiceService, implementation: {} }] }),
  ).rejects.toThrow('is for access tokens, and nothing checks them');
});

test('whoever a method for access tokens refuses never reaches it; those of other methods are not asked', async () => {
  const seen: string[] = [];
  const server = await startServer({
    address: ADDRESS,
    services: [
      {
        definition: AccountServiceService,
        implementation: {
          getAccount: unary(() => Promise.resolve(seen.push('getAccount'))),
          getOidcSettings: unary(() => Promise.resolve(seen.push('getOidcSettings')).then(() => ({ scopes: [] }))),
        } as unknown as Implementation,
      },
    ],
    authenticate: ({ method }) => {
      seen.push(`authenticate ${method}`);
      return Promise.reject(new RpcError('login.token_missing', status.UNAUTHENTICATED, 'no'));
    },
  });
  running.push(server);
  const client = new AccountServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
  try {
    await expect(callUnary(client, client.getAccount, {}, { timeout: 120_000 })).rejects.toMatchObject({
      code: 'login.token_missing',
    });
    await callUnary(client, client.getOidcSettings, {}, { timeout: 120_000 });
    expect(seen).toEqual(['authenticate /licensing.v1.AccountService/GetAccount', 'getOidcSettings']);
  } finally {
    client.close();
  }
});

test('each method refuses requests beyond its own size, not only beyond the largest of the server, and never sees them', async () => {
  const seen: string[] = [];
  const answer = { accessToken: '', expiresAt: 0n, refreshToken: '', refreshTokenExpiresAt: 0n };
  const target = await serve(AccountServiceService, {
    signUp: unary(({ username }: { username: string }) =>
      Promise.resolve(seen.push(`signUp ${username.length}`)).then(() => answer),
    ),
    revokeSession: unary(({ session }: { session: string }) =>
      Promise.resolve(seen.push(`revokeSession ${session.length}`)).then(() => ({})),
    ),
  });
  const client = new AccountServiceClient(target, credentials.createInsecure());
  try {
    const signUp = (length: number) =>
      callUnary(
        client,
        client.signUp,
        { username: 'u'.repeat(length), password: '', clientName: '' },
        { timeout: 120_000 },
      );
    const revoke = (length: number) =>
      callUnary(client, client.revokeSession, { session: 's'.repeat(length) }, { timeout: 120_000 });
    await signUp(16_000);
    await expect(signUp(16_400)).toRejectWithCode('rpc.too_large', { grpcStatus: status.RESOURCE_EXHAUSTED });
    await revoke(1_000);
    await expect(revoke(1_030)).toRejectWithCode('rpc.too_large', {
      grpcStatus: status.RESOURCE_EXHAUSTED,
      message: 'expected a request of 1024 bytes at most, got 1033',
    });
    expect(seen).toEqual(['signUp 16000', 'revokeSession 1000']);
  } finally {
    client.close();
  }
});

test('a call past its deadline ends, whatever its method does, and its method is told', async () => {
  const told: unknown[] = [];
  const clock = new TestClock();
  let begun = (): void => undefined;
  const underWay = new Promise<void>((resolve) => (begun = resolve));
  const target = await serve(
    LoginServiceService,
    {
      login: serverStream(() => Promise.resolve()),
      getTokenKeys: unary((_request, { signal }) => {
        signal.addEventListener('abort', () => told.push(signal.reason));
        begun();
        return new Promise(() => undefined);
      }),
    },
    clock,
  );
  const client = new LoginServiceClient(target, credentials.createInsecure());
  try {
    const { deadlineMs } = RULES['/licensing.v1.LoginService/GetTokenKeys'].timeout;
    const ended = callUnary(client, client.getTokenKeys, {}, { timeout: 3_600_000, metadata: new Metadata() });
    const refused = expect(ended).toRejectWithCode('rpc.deadline_exceeded', {
      grpcStatus: status.DEADLINE_EXCEEDED,
    });
    await underWay;
    await clock.advance(deadlineMs - 1);
    expect(told).toEqual([]);
    await clock.advance(1);
    await refused;
    expect(told).toEqual([expect.objectContaining({ code: 'rpc.deadline_exceeded' })]);
  } finally {
    client.close();
  }
});
