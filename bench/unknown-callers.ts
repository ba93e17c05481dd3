import { monitorEventLoopDelay } from 'node:perf_hooks';
import { readRequestKey } from '../licensing/authority/request';
import { PasswordHasher } from '../licensing/passwords/hasher';
import { percentile, timed } from './bench';
import type { Row } from './bench';

const ROUNDS = 200;

/** Requests of the largest size that are no requests: what a parser of all of it would go down into, or through. */
const MALFORMED = ['3080', '2480', 'a080', '0500', '30820ffc'].map((piece) =>
  Buffer.from(piece.repeat(Math.floor(8192 / piece.length)), 'hex'),
);

/** Sixty-four characters in which zxcvbn finds the most to try. */
const COSTLY = 'p4ssw0rd'.repeat(8);

/**
 * What somebody without any account makes the thread compute that answers everybody else: reading a certificate request that is none, and having a new
 * password judged, which another thread does.
 */
export async function run(): Promise<Row[]> {
  const reading: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const der of MALFORMED) {
      const { ms } = await timed(() =>
        Promise.resolve()
          .then(() => readRequestKey(der))
          .catch(() => undefined),
      );
      reading.push(ms);
    }
  }
  const hasher = new PasswordHasher({ cost: 4, threads: 1, queue: 10 });
  // Idle threads keep no program alive.
  const alive = setInterval(() => undefined, 1_000);
  await hasher.weakness('warm-up of the thread', []);
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const judging: number[] = [];
  for (let round = 0; round < 20; round += 1) judging.push((await timed(() => hasher.weakness(COSTLY, [COSTLY]))).ms);
  delay.disable();
  clearInterval(alive);
  await hasher.close();
  return [
    { name: 'malformed certificate request of 4 KiB, p99', value: percentile(reading, 0.99), unit: 'ms' },
    { name: 'costly password, judged in its own thread, p50', value: percentile(judging, 0.5), unit: 'ms' },
    {
      name: 'meanwhile, the thread that answers waits, p99',
      value: delay.percentile(99) / 1e6,
      unit: 'ms',
      note: 'timers of 1 ms',
    },
  ];
}
