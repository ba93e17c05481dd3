import { readFile, writeFile } from 'node:fs/promises';
import { enclavePods, enclaves } from './support/cluster';
import { Person } from './support/person';

const people: Person[] = [];
afterAll(async () => {
  for (const person of people) await person.leave();
});

interface SessionFile {
  session: { enclave: object; evidence: object };
}
const readSession = async (file: string): Promise<SessionFile> =>
  JSON.parse(await readFile(file, 'utf8')) as SessionFile;
const writeSession = (file: string, content: object): Promise<void> => writeFile(file, JSON.stringify(content));

async function newPerson(): Promise<Person> {
  const person = new Person();
  people.push(person);
  await person.signup();
  return person;
}

test('two logins of one user at the same moment give one enclave, and both are right about it', async () => {
  const first = await newPerson();
  const second = new Person(first.username);
  people.push(second);
  await Promise.all([first.login(), second.login()]);
  const [one, two] = [await first.status(), await second.status()];
  expect(one.claims.workload).toBe(two.claims.workload);
  expect(await enclaves(one.user)).toHaveLength(1);
  expect(await enclavePods(one.user)).toHaveLength(1);
  // Both sessions work at the same time.
  const outputs = await Promise.all([
    first.do(['exec', '--', 'echo', 'first']),
    second.do(['exec', '--', 'echo', 'second']),
  ]);
  expect(outputs.map(({ stdout }) => stdout)).toEqual(['first\n', 'second\n']);
});

test('users who log in together each get an enclave of their own, and evidence of it', async () => {
  const count = 8;
  const crowd: Person[] = [];
  for (let index = 0; index < count; index += 1) crowd.push(await newPerson());
  await Promise.all(crowd.map((person) => person.login()));
  const states = await Promise.all(crowd.map((person) => person.status()));
  expect(new Set(states.map(({ user }) => user)).size).toBe(count);
  expect(new Set(states.map(({ claims }) => claims.workload)).size).toBe(count);
  for (const { user, claims } of states)
    expect((await enclavePods(user)).map(({ metadata }) => metadata.uid)).toContain(claims.workload);
});

test("one user's certificate opens no other user's enclave", async () => {
  const [mine, other] = [people.at(-1), people.at(-2)];
  const session = mine?.machine.path('state', 'sls', 'session.json') ?? '';
  const theirs = other?.machine.path('state', 'sls', 'session.json') ?? '';
  const [a, b] = await Promise.all([session, theirs].map(readSession));
  await writeSession(session, {
    ...a,
    session: { ...a?.session, enclave: b?.session.enclave, evidence: b?.session.evidence },
  });
  const ended = await mine?.sls(['exec', '--', 'id']);
  expect(ended?.code).not.toBe(0);
  expect(ended?.stdout).toBe('');
});
