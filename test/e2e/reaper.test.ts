import { randomUUID } from 'node:crypto';
import type { KnativeService } from '../../runtime/kubernetes/objects';
import { apply, ENCLAVES, enclavePods, enclaves, eventually, kubectl, SERVICES } from './support/cluster';
import { Person } from './support/person';

interface ReaperJob {
  spec: { template: { spec: { containers: Array<{ env: Array<{ name: string; value?: string }> }> } } };
}

const ORPHAN = 'enclave-e2e-orphan';
const [busy, idle] = [new Person(), new Person()];
afterAll(async () => {
  await kubectl(['delete', 'job', 'reaper-e2e', '-n', SERVICES, '--ignore-not-found']);
  await kubectl(['delete', 'ksvc', ORPHAN, '-n', ENCLAVES, '--ignore-not-found']);
  for (const person of [busy, idle]) await person.leave();
});

/** Runs the CronJob's job once, with these variables in place of its own, and waits for its end. */
async function reap(env: Record<string, string> = {}): Promise<void> {
  await kubectl(['delete', 'job', 'reaper-e2e', '-n', SERVICES, '--ignore-not-found']);
  const create = [
    'create',
    'job',
    'reaper-e2e',
    '--from=cronjob/reaper',
    '-n',
    SERVICES,
    '--dry-run=client',
    '-o',
    'json',
  ];
  const job = JSON.parse(await kubectl(create)) as ReaperJob;
  for (const variable of job.spec.template.spec.containers[0]!.env)
    variable.value = env[variable.name] ?? variable.value;
  await apply([job]);
  await kubectl(['wait', '--for=condition=Complete', '--timeout=90s', '-n', SERVICES, 'job/reaper-e2e']);
}

async function podsOf(service: string): Promise<number> {
  const list = ['get', 'pods', '-n', ENCLAVES, '-l', `serving.knative.dev/service=${service}`, '-o', 'name'];
  return (await kubectl(list)).split('\n').filter((line) => line !== '').length;
}

async function names(): Promise<string[]> {
  return (await enclaves())
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    .map(({ metadata }) => metadata.name);
}

async function enclaveOf(person: Person): Promise<KnativeService> {
  const [service] = await enclaves((await person.status()).user);
  if (service === undefined) throw new Error('no enclave');
  return service;
}

test('enclaves unused for the configured time are removed; one in use stays, and so does one whose user is unknown, for now', async () => {
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
  orphan.metadata = { ...used.metadata, name: ORPHAN, annotations: { 'licensing/user': randomUUID() } };
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
  await reap();
  const left = await names();
  expect(left).toContain(used.metadata.name);
  expect(left).not.toContain(unused.metadata.name);
  // What has lost its owner is marked first.
  expect(left).toContain(ORPHAN);
  expect((await session).code).toBe(0);
});

test('what has no owner goes when its days are over, and its pod', async () => {
  await eventually('the orphan goes to zero', async () => (await podsOf(ORPHAN)) === 0, 180);
  await reap({ ORPHAN_DAYS: '0', ORPHAN_PERCENT: '100' });
  expect(await names()).not.toContain(ORPHAN);
});

test("with another installation's database the job fails and deletes nothing", async () => {
  const before = await names();
  const id = (await kubectl(['get', 'configmap', 'installation', '-n', ENCLAVES, '-o', 'jsonpath={.data.id}'])).trim();
  const bind = async (to: string): Promise<void> => {
    await kubectl(['delete', 'configmap', 'installation', '-n', ENCLAVES]);
    await kubectl(['create', 'configmap', 'installation', '-n', ENCLAVES, `--from-literal=id=${to}`]);
  };
  await bind(randomUUID());
  try {
    await expect(reap({ ORPHAN_DAYS: '0', ORPHAN_PERCENT: '100', UNUSED_DAYS: '0.000001' })).rejects.toThrow();
    expect(await kubectl(['logs', '-n', SERVICES, '-l', 'job-name=reaper-e2e'])).toContain('nothing is deleted');
  } finally {
    await bind(id);
  }
  expect(await names()).toEqual(before);
});

test('whoever comes back later gets an enclave again, with a new login', async () => {
  await idle.login();
  expect((await idle.do(['exec', '--', 'echo', 'back'])).stdout).toBe('back\n');
});
