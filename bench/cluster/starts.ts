import { setTimeout as sleep } from 'node:timers/promises';
import { login } from '../../client/index';
import { kubectl } from '../../runtime/kubernetes/kubectl';
import { percentile, timed } from '../bench';
import type { Row } from '../bench';
import {
  allAtZero,
  callHello,
  ENCLAVES,
  newUser,
  PLAINTEXT,
  prepareHello,
  removeEnclaves,
  removeHello,
  startHello,
  installed,
} from './services';
import type { User } from './services';

const ROUNDS = Number(process.env['SLS_BENCH_ROUNDS'] ?? 10);
const WARM = 100;

/** Kubelets look at their containers once a second. What begins when something else was seen to start would be in step with that, for better or worse. */
const outOfStep = (): Promise<void> => sleep(Math.random() * 1_000);

/**
 * Starts beside a plain Node gRPC service on the same cluster, in turn: a user's first login against `kubectl apply` to Ready, a login to an
 * enclave at zero against the plain service's first answer from zero. A login's time ends when its evidence is verified.
 */
export async function run(): Promise<Row[]> {
  const trust = await installed();
  const enter = (user: User): Promise<unknown> =>
    login(trust, { credential: { accessToken: user.accessToken }, ...PLAINTEXT });
  await removeEnclaves();
  await prepareHello();
  const users: User[] = [];
  const urls: string[] = [];
  const samples = {
    apply: [] as number[],
    first: [] as number[],
    hello: [] as number[],
    zero: [] as number[],
    warm: [] as number[],
  };
  try {
    await newUser(trust).then(enter); // images are on the node, functions are awake
    await startHello('hello-first');
    for (let round = 0; round < ROUNDS; round += 1) {
      const user = await newUser(trust);
      users.push(user);
      await outOfStep();
      samples.first.push((await timed(() => enter(user))).ms);
      await outOfStep();
      const plain = await timed(() => startHello(`hello-${round}`));
      urls.push(plain.result);
      samples.apply.push(plain.ms);
    }
    const serving = await servingTimes();
    const toZero = await allAtZero(400);
    for (let round = 0; round < ROUNDS; round += 1) {
      const [user, url] = [users[round]!, urls[round]!];
      // Login and signup are awake in both measurements: the plain service has no counterpart to them.
      await newUser(trust).then(() =>
        login(trust, { credential: { username: 'nobody', password: 'x' }, ...PLAINTEXT }).catch(() => undefined),
      );
      await outOfStep();
      samples.zero.push((await timed(() => enter(user))).ms);
      await outOfStep();
      samples.hello.push((await timed(() => callHello(url))).ms);
    }
    for (let round = 0; round < WARM; round += 1) samples.warm.push((await timed(() => enter(users[ROUNDS - 1]!))).ms);

    const [apply, first, hello, zero, warm] = [samples.apply, samples.first, samples.hello, samples.zero, samples.warm];
    return [
      ...rows('plain service: kubectl apply to Ready', apply),
      ...rows("a user's first login, verified", first),
      {
        name: 'first login / plain service',
        value: percentile(first, 0.5) / percentile(apply, 0.5),
        unit: 'times',
        note: 'target 1.5',
      },
      ...rows('plain service: first answer from zero', hello),
      ...rows('login to an enclave at zero, verified', zero),
      {
        name: 'login at zero / plain service',
        value: percentile(zero, 0.5) / percentile(hello, 0.5),
        unit: 'times',
        note: 'target 1.5',
      },
      ...rows('warm login, verified', warm, 'target 150 ms'),
      ...rows("enclave's process: start to serving", serving, 'target 400 ms'),
      { name: 'last request to zero pods, all', value: toZero / 1000, unit: 's' },
    ];
  } finally {
    await removeHello();
    await removeEnclaves();
  }
}

function rows(name: string, samples: number[], note?: string): Row[] {
  return [
    { name: `${name}, p50`, value: percentile(samples, 0.5), unit: 'ms', note },
    { name: `${name}, p99`, value: percentile(samples, 0.99), unit: 'ms', note: `${samples.length} samples` },
  ];
}

/** What the enclaves that run now said about their own start. */
async function servingTimes(): Promise<number[]> {
  const logs = await kubectl([
    'logs',
    '-n',
    ENCLAVES,
    '-l',
    'app.kubernetes.io/component=enclave',
    '-c',
    'user-container',
    '--tail=-1',
    '--max-log-requests=50',
  ]);
  return [...logs.matchAll(/"sinceStartMs":(\d+)/g)].map(([, ms]) => Number(ms));
}
