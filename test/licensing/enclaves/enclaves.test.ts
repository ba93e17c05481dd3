import { randomUUID } from 'node:crypto';
import { EnclaveRegistry } from '../../../licensing/enclaves/enclaves';
import type { Database } from '../../../licensing/store/database';
import { openDatabase } from '../../../licensing/store/database';
import { testDatabase } from '../../support/postgres';

const MOST = 3;

let server: { url: string; stop(): Promise<void> };
const databases: Database[] = [];
let replicas: EnclaveRegistry[];
beforeAll(async () => {
  server = await testDatabase();
  databases.push(...[0, 1].map(() => openDatabase(server.url, { poolSize: 4 })));
  replicas = databases.map((database) => new EnclaveRegistry(database, MOST));
});
afterAll(async () => {
  await Promise.all(databases.map((database) => database.close()));
  await server.stop();
});

async function account(): Promise<string> {
  const user = randomUUID();
  const values = [user, `user-${user.slice(0, 8)}`];
  await databases[0]!.query(`INSERT INTO accounts (id, username, password_hash) VALUES ($1, $2, 'x')`, values);
  return user;
}

const claim = (user: string, replica = replicas[0]!, name = 'default'): Promise<string> =>
  replica
    .claim({ user, name }, () => Promise.resolve(4))
    .then(
      (isNew) => (isNew ? 'new' : 'known'),
      ({ code }: { code: string }) => code,
    );

test('of new accounts, each with an enclave, no more get in than the installation takes, on whichever replicas', async () => {
  const users = await Promise.all(Array.from({ length: 8 }, account));
  const outcomes = await Promise.all(users.map((user, i) => claim(user, replicas[i % 2])));
  expect([...outcomes].sort()).toEqual([
    ...Array<string>(8 - MOST).fill('enclave.installation_full'),
    ...Array<string>(MOST).fill('new'),
  ]);
  // Who has one is never refused; one that goes makes room.
  const [owner] = users.filter((_, i) => outcomes[i] === 'new') as [string];
  expect(await claim(owner)).toBe('known');
  expect(await claim(owner, replicas[1], 'second')).toBe('enclave.installation_full');
  await replicas[0]!.delete({ user: owner, name: 'default' }, () => Promise.resolve());
  expect(await claim(await account())).toBe('new');
  expect(await claim(await account())).toBe('enclave.installation_full');
});
