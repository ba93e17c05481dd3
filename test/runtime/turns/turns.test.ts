import { Turns } from '../../../runtime/turns/turns';
import type { TurnSizes } from '../../../runtime/turns/turns';

const full = (): Error => new Error('full');

/** Work that ends when its test says so, and writes down when it began. */
class Bench {
  readonly began: string[] = [];
  readonly outcomes: string[] = [];
  private readonly ends = new Map<string, () => void>();
  private readonly turns: Turns;

  constructor(sizes: Partial<TurnSizes>) {
    this.turns = new Turns({ atOnce: 1, ofOne: 1, waiting: 100, ...sizes }, full);
  }

  bring(owner: string, name: string, signal?: AbortSignal): void {
    const work = (): Promise<void> => {
      this.began.push(name);
      return new Promise((resolve) => this.ends.set(name, resolve));
    };
    this.turns.take(owner, signal, work).then(
      () => this.outcomes.push(`${name} done`),
      (error: Error) => this.outcomes.push(`${name} ${error.message}`),
    );
  }

  async end(name: string): Promise<void> {
    await settled();
    this.endAtOnce(name);
    await settled();
  }

  endAtOnce(name: string): void {
    this.ends.get(name)?.();
  }

  get waiting(): number {
    return this.turns.waiting;
  }
}

async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}

test('one of another owner is done after one of the thousand that came before it', async () => {
  const bench = new Bench({ waiting: 2_000 });
  for (let i = 0; i < 1_000; i++) bench.bring('stranger', `s${i}`);
  bench.bring('good', 'g');
  await bench.end('s0');
  await bench.end('s1');
  expect(bench.began).toEqual(['s0', 's1', 'g']);
});

test('of one owner no more is done at once than is said, and what is left is for others', async () => {
  const bench = new Bench({ atOnce: 3, ofOne: 2 });
  for (let i = 0; i < 5; i++) bench.bring('stranger', `s${i}`);
  bench.bring('good', 'g');
  await settled();
  expect(bench.began).toEqual(['s0', 's1', 'g']);
});

test('what nobody waits for any more is never begun, and makes room', async () => {
  const bench = new Bench({ waiting: 2 });
  const gone = new AbortController();
  bench.bring('stranger', 's0');
  bench.bring('stranger', 's1', gone.signal);
  bench.bring('stranger', 's2', gone.signal);
  gone.abort(new Error('gone'));
  bench.bring('stranger', 's3', gone.signal);
  expect(bench.waiting).toBe(0);
  bench.bring('stranger', 's4');
  await bench.end('s0');
  expect(bench.began).toEqual(['s0', 's4']);
  expect(bench.outcomes.sort()).toEqual(['s0 done', 's1 gone', 's2 gone', 's3 gone']);
});

test('what has begun counts until it ends, also when nobody waits for it any more', async () => {
  const bench = new Bench({});
  const gone = new AbortController();
  bench.bring('stranger', 's0', gone.signal);
  gone.abort(new Error('gone'));
  bench.bring('good', 'g');
  await settled();
  expect(bench.began).toEqual(['s0']);
  await bench.end('s0');
  expect(bench.began).toEqual(['s0', 'g']);
});

test('whose caller goes in the very moment of its turn leaves the turn to the next', async () => {
  const bench = new Bench({});
  const gone = new AbortController();
  bench.bring('stranger', 's0');
  bench.bring('stranger', 's1', gone.signal);
  bench.bring('good', 'g');
  await settled();
  bench.endAtOnce('s0');
  // Its turn has come by now, and its work has not begun.
  for (let i = 0; i < 10; i++) await Promise.resolve();
  gone.abort(new Error('gone'));
  await settled();
  expect(bench.began).not.toContain('s1');
  expect(bench.began).toContain('g');
});

test('where there is no more room, the owner who has the most makes room, by what they brought last', async () => {
  const bench = new Bench({ waiting: 3 });
  for (const name of ['s0', 's1', 's2', 's3', 's4']) bench.bring('stranger', name);
  bench.bring('good', 'g');
  await settled();
  expect(bench.outcomes).toEqual(['s4 full', 's3 full']);
  expect(bench.waiting).toBe(3);
});

test('work that throws ends its turn', async () => {
  const turns = new Turns({ atOnce: 1, ofOne: 1, waiting: 1 }, full);
  await expect(turns.take('one', undefined, () => Promise.reject(new Error('on purpose')))).rejects.toThrow(
    'on purpose',
  );
  expect(await turns.take('one', undefined, () => Promise.resolve('done'))).toBe('done');
});
