import { randomUUID } from 'node:crypto';
import type { KnativeService } from '../../runtime/kubernetes/objects';
import { apply, ENCLAVES, enclavePods, enclaves, eventually, kubectl, SERVICES } from './support/cluster';
import { Person } from './support/person';

const [busy, idle] = [new Person(), new Person()];
afterAll(async () => {
  await kubectl(['delete', 'job', 'reaper-e2e', '-n', SERVICES, '--ignore-not-found']);
  for (const person of [busy, idle]) await person.leave();
});

async function enclaveOf(person: Person): Promise<KnativeService> {
  const [service] = await enclaves((await person.status()).user);
  if (service === undefined) throw new Error('no enclave');
  return service;
}

test('enclaves unused for the configured time are removed, so are those of users who are gone; one in use stays', async () => {
  for (const person of [busy, idle]) {
    await person.signup();
    await person.login();
  }
  const unused = await enclaveOf(idle);
  const used = await enclaveOf(busy);
  const longAgo = new Date(Date.now() - 60 * 86_400_000).toISOString();
  for (const { metadata } of [unused, used]) {
    await kubectl(['annotate', 'ksvc', metadata.name, '-n', ENCLAVES, '--overwrite', `licensing/last-used=${longAgo}`]);
  }
  const orphan = structuredClone(used);
  orphan.metadata = { ...used.metadata, name: 'enclave-e2e-orphan', annotations: { 'licensing/user': randomUUID() } };
  for (const field of ['uid', 'resourceVersion', 'generation', 'creationTimestamp', 'managedFields'] as const)
    delete (orphan.metadata as unknown as Record<string, unknown>)[field];
  delete orphan.status;
  orphan.spec.template.metadata!.annotations!['autoscaling.knative.dev/initial-scale'] = '1';
  await apply([orphan]);

  const { user } = await idle.status();
  await eventually('the idle enclave goes to zero', async () => (await enclavePods(user)).length === 0, 180);
  // An open session holds the other one's pod, so that it counts as used.
  const session = busy.sls(['exec', '--', 'sleep', '30']);
  await eventually(
    'the session is open',
    async () => (await enclavePods(used.metadata.annotations?.['licensing/user'])).length === 1,
    30,
  );
  await kubectl(['delete', 'job', 'reaper-e2e', '-n', SERVICES, '--ignore-not-found']);
  await kubectl(['create', 'job', 'reaper-e2e', '--from=cronjob/reaper', '-n', SERVICES]);
  await kubectl(['wait', '--for=condition=Complete', '--timeout=90s', '-n', SERVICES, 'job/reaper-e2e']);

  const left = (await enclaves())
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    .map(({ metadata }) => metadata.name);
  expect(left).toContain(used.metadata.name);
  expect(left).not.toContain(unused.metadata.name);
  expect(left).not.toContain('enclave-e2e-orphan');
  expect((await session).code).toBe(0);
});

test('whoever comes back later gets an enclave again, with a new login', async () => {
  await idle.login();
  expect((await idle.do(['exec', '--', 'echo', 'back'])).stdout).toBe('back\n');
});
