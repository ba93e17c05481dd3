import { PasswordHasher } from '../licensing/passwords/hasher';
import { percentile, timed } from './bench';
import type { Row } from './bench';

const ROUNDS = 40;

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
/** Of the mean. */
function standardError(values: readonly number[]): number {
  const middle = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - middle) ** 2)) / (values.length - 1));
}

/**
 * Whether time tells an unknown user from a wrong password, for an account of now and for one from before the cost was raised.
 * In turns, so that what else the machine does meets all alike. Tests hold that the work is the same.
 */
export async function run(): Promise<Row[]> {
  const hasher = new PasswordHasher({ cost: 11, threads: 1, queue: 10 });
  const earlier = new PasswordHasher({ cost: 8, threads: 1, queue: 10 });
  const kinds: Array<[string, string | undefined]> = [
    ['unknown user', undefined],
    ['wrong password', await hasher.hash('correct horse')],
    ['wrong password, hash of cost 8', await earlier.hash('correct horse')],
  ];
  const samples = kinds.map((): number[] => []);
  for (let round = -2; round < ROUNDS; round++) {
    for (const [at, [, stored]] of kinds.entries()) {
      const { ms } = await timed(() => hasher.verify('wrong password', stored));
      if (round >= 0) samples[at]?.push(ms);
    }
  }
  await Promise.all([hasher.close(), earlier.close()]);
  const unknown = samples[0] ?? [];
  return kinds.flatMap(([name], at) => {
    const times = samples[at] ?? [];
    const rows: Row[] = [{ name: `${name}, p50`, value: percentile(times, 0.5), unit: 'ms' }];
    if (at > 0) {
      const difference = mean(times) - mean(unknown);
      const error = Math.hypot(standardError(times), standardError(unknown));
      rows.push({
        name: `${name}: longer than for an unknown user, mean`,
        value: difference,
        unit: 'ms',
        note: `${Math.abs(difference / error).toFixed(1)} standard errors; below 3 they can't be told apart`,
      });
    }
    return rows;
  });
}
