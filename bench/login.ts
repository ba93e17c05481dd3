import { rm } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, login, signUp } from '../client';
import type { Session } from '../client';
import { readSignedBundle } from '../attestation/trust/signed-bundle';
import type { TrustBundle } from '../attestation/trust/bundle';
import { Machine } from '../test/support/machine';
import { percentile, timed } from './bench';
import type { Row } from './bench';

const ROUNDS = 8;
const PASSWORD = 'correct horse battery staple';

/** Login end to end on one machine, as the client library sees it: both with the enclave running and with it started for the login. */
export async function run(): Promise<Row[]> {
  const machine = new Machine();
  try {
    await machine.startService();
    const trust: TrustBundle = await readSignedBundle(readFileSync(machine.server('trust-bundle.jws'), 'utf8'));
    const [cold, warm, password, connecting]: [number[], number[], number[], number[]] = [[], [], [], []];
    for (let round = 0; round < ROUNDS; round++) {
      const username = `bench-${round}`;
      const { accessToken } = await signUp(trust, { username, password: PASSWORD });
      cold.push((await timed(() => login(trust, { credential: { accessToken } }))).ms);
      const { ms, result } = await timed<Session>(() => login(trust, { credential: { accessToken } }));
      warm.push(ms);
      password.push((await timed(() => login(trust, { credential: { username, password: PASSWORD } }))).ms);
      const opened = await timed(() => connect(trust, result));
      connecting.push(opened.ms);
      opened.result.close();
      await sleep(50);
    }
    const rows = (name: string, samples: number[], note?: string): Row[] => [
      { name: `${name}, p50`, value: percentile(samples, 0.5), unit: 'ms', note },
      { name: `${name}, p99`, value: percentile(samples, 0.99), unit: 'ms' },
    ];
    return [
      ...rows('login by token, enclave started for it', cold),
      ...rows('login by token, enclave running', warm),
      ...rows('login by password, enclave running', password, 'bcrypt, cost 12'),
      ...rows('connection: certificate, TLS 1.3, second quote', connecting),
    ];
  } finally {
    await machine.stopService();
    await rm(machine.folder, { recursive: true, force: true });
  }
}
