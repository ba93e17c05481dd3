import { credentials, status } from '@grpc/grpc-js';
import type { AccountBackend } from '../../../licensing/accounts/backend';
import { callUnary } from '../../../runtime/rpc/client';
import { startServer } from '../../../runtime/rpc/server';
import type { RunningServer } from '../../../runtime/rpc/server';
import { bearerAuthentication } from '../../../licensing/sessions/bearer';
import { verifyAccessToken } from '../../../licensing/tokens/access-token';
import { accountService } from '../../../functions/signup/service';
import { AccountServiceClient, AccountServiceService } from '../../../proto/gen/licensing/v1/account';
import type { SignUpResponse } from '../../../proto/gen/licensing/v1/account';
import { eventually } from '../../support/eventually';
import { openReplica, TRUST_DOMAIN, writeAccountFiles } from '../../support/accounts';
import type { AccountFiles } from '../../support/accounts';
import { startEmbeddedTestPostgres } from '../../support/embedded-postgres';
import { migratedDatabase, noPostgres, startTestPostgres } from '../../support/postgres';
import type { TestPostgres } from '../../support/postgres';

if (noPostgres !== undefined) console.warn(noPostgres);

const password = 'correct horse battery';

interface Replica {
  backend: AccountBackend;
  signUp(username: string, secret?: string): Promise<SignUpResponse>;
  /** The refusal's code and status. */
  refusal(username: string, secret?: string): Promise<string>;
  stop(): Promise<void>;
}

async function startReplica(files: AccountFiles): Promise<Replica> {
  const backend = await openReplica(files);
  const server: RunningServer = await startServer({
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    authenticate: bearerAuthentication(backend),
    services: [{ definition: AccountServiceService, implementation: accountService(backend) }],
  });
  const client = new AccountServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
  const signUp = (username: string, secret = password): Promise<SignUpResponse> =>
    callUnary(client, client.signUp, { username, password: secret, clientName: 'test' }, { timeout: 120_000 });
  return {
    backend,
    signUp,
    refusal: (username, secret) =>
      signUp(username, secret).then(
        () => 'signed up',
        (error: { code: string; grpcStatus: status }) => `${error.code} ${status[error.grpcStatus]}`,
      ),
    async stop() {
      client.close();
      await server.stop(0);
      await backend.close();
    },
  };
}

function contract(open: () => Promise<{ url: string; stop(): Promise<void> }>): void {
  let server: { url: string; stop(): Promise<void> };
  let files: AccountFiles;
  let replicas: Replica[];

  beforeAll(async () => {
    server = await open();
    files = await writeAccountFiles(server.url);
    replicas = await Promise.all([startReplica(files), startReplica(files)]);
  });

  afterAll(async () => {
    await Promise.all(replicas.map((replica) => replica.stop()));
    await files.remove();
    await server.stop();
  });

  test('a new user gets a token that says who they are', async () => {
    const { accessToken, expiresAt } = await replicas[0]!.signUp('alice');
    const { backend } = replicas[1]!;
    const { user } = await verifyAccessToken(backend.tokenKeys, accessToken, { trustDomain: TRUST_DOMAIN });
    expect((await backend.accounts.find('alice'))?.id).toBe(user);
    expect(Number(expiresAt) - Date.now() / 1000).toBeGreaterThan(890);
  });

  test('a username is taken in each of its forms', async () => {
    await replicas[0]!.signUp('bob.b');
    await replicas[0]!.signUp('Zoë');
    for (const username of ['bob.b', 'BOB.B', 'ｂｏｂ.b', 'zoë', 'ZOE\u0308']) {
      expect(await replicas[1]!.refusal(username)).toBe('signup.username_taken ALREADY_EXISTS');
    }
  });

  test('of sign-ups for one username at once, on two replicas, exactly one succeeds', async () => {
    for (let round = 0; round < 10; round++) {
      const results = await Promise.all(
        Array.from({ length: 6 }, (_, i) => replicas[i % 2]!.refusal(`racer${round}`, `${password} ${i}`)),
      );
      expect(results.filter((result) => result === 'signed up')).toHaveLength(1);
      expect(results.filter((result) => result === 'signup.username_taken ALREADY_EXISTS')).toHaveLength(5);
    }
  });

  test('a username or password that breaks a rule is refused by that rule', async () => {
    const { refusal } = replicas[0]!;
    expect(await refusal('')).toBe('signup.username_invalid INVALID_ARGUMENT');
    expect(await refusal('../etc')).toBe('signup.username_invalid INVALID_ARGUMENT');
    expect(await refusal('carol', 'short')).toBe('signup.password_too_short INVALID_ARGUMENT');
    expect(await refusal('carol', 'password1')).toBe('signup.password_weak INVALID_ARGUMENT');
    expect(await refusal('carol.carolson', 'Carol.Carolson')).toBe('signup.password_weak INVALID_ARGUMENT');
    expect(await refusal('carol', 'x'.repeat(1025))).toBe('signup.password_too_long INVALID_ARGUMENT');
    expect(await replicas[0]!.backend.accounts.find('carol')).toBeUndefined();
  });

  test('the password is stored nowhere', async () => {
    await replicas[0]!.signUp('dave');
    const rows = await replicas[0]!.backend.database.query('SELECT * FROM accounts');
    expect(JSON.stringify(rows)).not.toContain(password);
  });
}

describe('on the embedded PostgreSQL', () => contract(startEmbeddedTestPostgres));

(noPostgres === undefined ? describe : describe.skip)('on a PostgreSQL server', () => {
  contract(migratedDatabase);

  test('a restart of the database loses no account, and is a clear refusal while it lasts', async () => {
    const server: TestPostgres = await startTestPostgres();
    if (!server.canRestart) return;
    const files = await writeAccountFiles(server.url);
    const replica = await startReplica(files);
    const created: string[] = [];
    let going = true;
    const users = Array.from({ length: 3 }, async (_, lane) => {
      for (let i = 0; going; i++) {
        const result = await replica.refusal(`user${lane}.${i}`);
        if (result === 'signed up') created.push(`user${lane}.${i}`);
        else expect(result).toBe('store.unavailable UNAVAILABLE');
      }
    });
    /** Until each of them could have signed up again. */
    const more = async (): Promise<void> => {
      const before = created.length;
      await eventually(() => created.length >= before + users.length);
    };
    for (let restart = 0; restart < 2; restart++) {
      await more();
      await server.kill();
      await server.start();
    }
    await more();
    going = false;
    await Promise.all(users);
    for (const username of created) expect(await replica.backend.accounts.find(username)).toBeDefined();

    await server.kill();
    expect(await replica.refusal('while.away')).toBe('store.unavailable UNAVAILABLE');
    await server.start();
    expect(await replica.refusal('while.away')).toBe('signed up');
    await replica.stop();
    await files.remove();
    await server.stop();
  });
});
