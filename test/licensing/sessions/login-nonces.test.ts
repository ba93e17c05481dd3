import { randomBytes } from 'node:crypto';
import { Accounts } from '../../../licensing/accounts/accounts';
import { requireFreshNonce, useNonce } from '../../../licensing/sessions/login-nonces';
import { openDatabase } from '../../../licensing/store/database';
import type { Database } from '../../../licensing/store/database';
import { testDatabase } from '../../support/postgres';

let postgres: { url: string; stop(): Promise<void> };
let replicas: [Database, Database];
let users: string[];
beforeAll(async () => {
  postgres = await testDatabase();
  replicas = [openDatabase(postgres.url, { poolSize: 4 }), openDatabase(postgres.url, { poolSize: 4 })];
  const accounts = new Accounts(replicas[0]);
  users = await Promise.all(['ada', 'bob'].map(async (name) => (await accounts.create(name, 'x'))!));
});
afterAll(async () => {
  await Promise.all(replicas.map((database) => database.close()));
  await postgres.stop();
});

test('of uses at once, each of which found the nonce fresh, on two replicas, one goes on', async () => {
  const nonce = randomBytes(32);
  const [user] = users as [string, string];
  const all = Array.from({ length: 10 }, (_, i) => replicas[i % 2]!);
  await Promise.all(all.map((database) => requireFreshNonce(database, user, nonce)));
  const outcomes = await Promise.all(
    all.map((database) =>
      useNonce(database, user, nonce).then(
        () => 'used',
        ({ code }: { code: string }) => code,
      ),
    ),
  );
  expect(outcomes.sort()).toEqual([...Array<string>(9).fill('login.nonce_used'), 'used']);
  await expect(requireFreshNonce(replicas[1], user, nonce)).toRejectWithCode('login.nonce_used');
});

test("a nonce is used up for its user, and for nobody else's login", async () => {
  const nonce = randomBytes(32);
  const [ada, bob] = users as [string, string];
  await useNonce(replicas[0], ada, nonce);
  await requireFreshNonce(replicas[0], bob, nonce);
  await useNonce(replicas[0], bob, nonce);
  await expect(useNonce(replicas[0], bob, nonce)).toRejectWithCode('login.nonce_used');
});
