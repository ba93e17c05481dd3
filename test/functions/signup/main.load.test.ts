import { credentials, Metadata, status } from '@grpc/grpc-js';
import { callUnary } from '../../../runtime/rpc/client';
import type { RpcError } from '../../../runtime/rpc/errors';
import { HealthClient } from '../../../proto/gen/grpc/health/v1/health';
import { AccountServiceClient } from '../../../proto/gen/licensing/v1/account';
import type { SignUpResponse } from '../../../proto/gen/licensing/v1/account';
import { writeAccountFiles } from '../../support/accounts';
import { eventually } from '../../support/eventually';
import type { AccountFiles } from '../../support/accounts';
import { testDatabase } from '../../support/postgres';
import { resets, say } from '../../support/resets';
import { startProgram } from '../../support/program';
import type { RunningProgram } from '../../support/program';

const password = 'correct horse battery';
/** No guess finds it, and whoever judges that has thousands of patterns to weigh. */
const LABOURED = '4@8({[<369&#!/|1+70$5%2'.repeat(3).slice(0, 64);
const HASH_QUEUE = 12;

let database: { url: string; stop(): Promise<void> };
let files: AccountFiles;
let program: RunningProgram;
let client: AccountServiceClient;

beforeAll(async () => {
  database = await testDatabase();
  files = await writeAccountFiles(database.url);
  program = await startProgram('signup', {
    ...files.settings,
    LISTEN: 'http://127.0.0.1:0',
    BCRYPT_COST: '10',
    HASH_QUEUE: String(HASH_QUEUE),
    HASH_WORKERS: '1',
    SIGNUPS_PER_ADDRESS: '1000',
    // Callers of this test are where they say.
    TRUSTED_PROXIES: '127.0.0.1',
  });
  client = new AccountServiceClient(`127.0.0.1:${program.port}`, credentials.createInsecure());
});

afterAll(async () => {
  client.close();
  expect(await program.stop()).toEqual({ code: 0 });
  await files.remove();
  await database.stop();
});

function from(address: string, { accessToken }: Partial<SignUpResponse> = {}): Metadata {
  const metadata = new Metadata();
  metadata.set('x-forwarded-for', address);
  if (accessToken !== undefined) metadata.set('authorization', `Bearer ${accessToken}`);
  return metadata;
}

const signUp = (username: string, address: string, secret = password): Promise<SignUpResponse> =>
  callUnary(
    client,
    client.signUp,
    { username, password: secret, clientName: 'test' },
    { timeout: 120_000, metadata: from(address) },
  );

function outcome(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => 'ok',
    (error: RpcError) => `${error.code} ${status[error.grpcStatus]}`,
  );
}

test('a hundred new passwords that take long to be judged stop nothing else', async () => {
  const health = new HealthClient(`127.0.0.1:${program.port}`, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
  });
  await callUnary(health, health.check, { service: '' }, { timeout: 120_000 });
  let flooding = true;
  const flood = Promise.all(
    Array.from({ length: 100 }, (_, i) => outcome(signUp(`user${i}`, '198.51.100.7', `${LABOURED.slice(0, 60)}${i}`))),
  ).finally(() => (flooding = false));
  let checks = 0;
  for (; flooding; checks++) await callUnary(health, health.check, { service: '' }, { timeout: 120_000 });
  health.close();
  const answers = await flood;
  expect(new Set(answers)).toEqual(new Set(['ok', 'login.busy RESOURCE_EXHAUSTED']));
  // Passwords are judged one after the other; many more were answered than are judged.
  expect(checks).toBeGreaterThan(answers.filter((answer) => answer === 'ok').length);
});

test('a user who has the right password checked again and again, from one place, keeps nobody elsewhere out', async () => {
  const stranger = '198.51.100.8';
  const accounts = await Promise.all(['mallory', 'marvin', 'moriarty'].map((name) => signUp(name, stranger)));
  let flooding = true;
  let turns = 0;
  const flood = Array.from({ length: HASH_QUEUE * 3 }, async (_, i) => {
    const metadata = from(stranger, accounts[i % accounts.length]);
    while (flooding) {
      // Nothing comes of it, and nothing of it counts as a guess.
      await outcome(
        callUnary(
          client,
          client.changePassword,
          { oldPassword: password, newPassword: 'short', oneTimeCode: '', unlinkIdentities: false },
          { timeout: 120_000, metadata },
        ),
      );
      turns += 1;
    }
  });
  // All of them have had an answer: the queue is theirs.
  await eventually(() => turns > flood.length);
  const results: string[] = [];
  for (let i = 0; i < 10; i++) results.push(await outcome(signUp(`victim${i}`, '203.0.113.5')));
  flooding = false;
  await Promise.all(flood);
  expect(results).toEqual(Array<string>(10).fill('ok'));
});

test('sign-ups that are refused, and reset before their answers went out, do not end the program', async () => {
  // As many at once as a connection may have, in one write.
  const { begun, ended } = resets('/licensing.v1.AccountService/SignUp', 128);
  for (let round = 0; round < 10; round += 1) {
    // An address from where so many calls are given up opens no connection for a while.
    const address = `127.0.2.${round + 1}`;
    const sockets = Array.from({ length: 4 }, () => say(program.port, address, Buffer.concat([begun, ended])).resume());
    await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve))));
  }
  expect(await outcome(signUp('survivor', '203.0.113.6'))).toBe('ok');
});
