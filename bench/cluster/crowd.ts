import { login } from '../../client/index';
import { Claims } from '../../proto/gen/licensing/v1/evidence';
import { percentile, timed } from '../bench';
import type { Row } from '../bench';
import { allAtZero, memory, newUser, PLAINTEXT, removeEnclaves, installed } from './services';
import type { User } from './services';

const ENCLAVE_COUNT = Number(process.env['SLS_BENCH_ENCLAVES'] ?? 200);
/** Sign-ups and logins under way at a time. */
const TOGETHER = 20;
const WARM_SECONDS = 15;

/** Many users: signed up, their enclaves created and verified, logins to what runs, and back to zero. Memory of each part while all run. */
export async function run(): Promise<Row[]> {
  const trust = await installed();
  await removeEnclaves();
  const users: User[] = [];
  const workloads = new Set<string>();
  const firsts: number[] = [];
  try {
    const signups = await timed(() =>
      spread(ENCLAVE_COUNT, TOGETHER, async () => void users.push(await newUser(trust))),
    );
    const atSignup = await memory();
    const created = await timed(() =>
      spread(ENCLAVE_COUNT, TOGETHER, async (index) => {
        const { ms, result } = await timed(() =>
          retrying(() => login(trust, { credential: { accessToken: users[index]!.accessToken }, ...PLAINTEXT })),
        );
        firsts.push(ms);
        workloads.add(Claims.decode(result.evidence.claims).workloadUid);
      }),
    );
    const used = await memory();

    // The last ones that were started still run.
    const warm = users.slice(-Math.min(10, ENCLAVE_COUNT));
    const logins: number[] = [];
    const end = Date.now() + WARM_SECONDS * 1000;
    const rate = await timed(() =>
      spread(TOGETHER, TOGETHER, async (index) => {
        const credential = { accessToken: warm[index % warm.length]!.accessToken };
        while (Date.now() < end) logins.push((await timed(() => login(trust, { credential, ...PLAINTEXT }))).ms);
      }),
    );
    const toZero = await allAtZero(900);

    const of = (namespace: string, container: string): number[] =>
      used.filter((each) => each.namespace === namespace && each.container === container).map(({ mib }) => mib);
    const userContainers = [...atSignup, ...used].filter(
      ({ namespace, container }) => namespace === 'licensing' && container === 'user-container',
    );
    const largest = (service: string): number =>
      Math.max(0, ...userContainers.filter(({ pod }) => pod.startsWith(service)).map(({ mib }) => mib));
    return [
      {
        name: `${ENCLAVE_COUNT} users sign up, ${TOGETHER} at a time`,
        value: ENCLAVE_COUNT / (signups.ms / 1000),
        unit: '/s',
      },
      {
        name: `${ENCLAVE_COUNT} enclaves created and verified`,
        value: created.ms / 1000,
        unit: 's',
        note: `${workloads.size} different workloads`,
      },
      { name: 'first login in the crowd, p50', value: percentile(firsts, 0.5), unit: 'ms' },
      { name: 'first login in the crowd, p99', value: percentile(firsts, 0.99), unit: 'ms' },
      { name: `warm logins, ${TOGETHER} at a time`, value: logins.length / (rate.ms / 1000), unit: '/s' },
      { name: `warm login in the crowd, p50`, value: percentile(logins, 0.5), unit: 'ms' },
      { name: `warm login in the crowd, p99`, value: percentile(logins, 0.99), unit: 'ms' },
      { name: 'all back to zero', value: toZero / 1000, unit: 's' },
      {
        name: 'memory: an enclave, p50',
        value: percentile(of('licensing-enclaves', 'user-container'), 0.5),
        unit: 'MiB',
        note: `${of('licensing-enclaves', 'user-container').length} ran`,
      },
      {
        name: "memory: an enclave's queue-proxy, p50",
        value: percentile(of('licensing-enclaves', 'queue-proxy'), 0.5),
        unit: 'MiB',
        note: "Knative's",
      },
      { name: 'memory: attestor', value: Math.max(0, ...of('licensing-attestor', 'attestor')), unit: 'MiB' },
      { name: 'memory: login, largest pod', value: largest('login'), unit: 'MiB' },
      { name: 'memory: signup, largest pod', value: largest('signup'), unit: 'MiB' },
    ];
  } finally {
    await removeEnclaves();
  }
}

/** Runs `count` pieces of work, at most `width` at a time. */
async function spread(count: number, width: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: Math.min(width, count) }, worker));
}

/** As a person does who reads "try again": a full cluster has room when others went to zero. */
async function retrying<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (attempt === 100) throw error;
      await new Promise((done) => setTimeout(done, 2_000));
    }
  }
}
