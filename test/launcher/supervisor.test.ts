import { supervise } from '../../launcher/supervisor';
import type { Running } from '../../launcher/supervisor';
import { TestClock } from '../support/clock';

class Fake implements Running {
  pid = 1;
  die!: () => void;
  stopped = false;
  exited = new Promise<void>((resolve) => (this.die = resolve));
  stop(): Promise<void> {
    this.stopped = true;
    this.die();
    return Promise.resolve();
  }
}

test('what dies is started again with growing delays, also when a start fails; what was stopped stays down', async () => {
  const clock = new TestClock();
  const started: Array<{ at: number; process: Fake }> = [];
  let failing = 0;
  const lines: string[] = [];
  const supervised = await supervise(
    'the thing',
    () => {
      const process = new Fake();
      started.push({ at: clock.monotonic(), process });
      if (failing-- > 0) return Promise.reject(new Error('no luck'));
      return Promise.resolve(process);
    },
    { report: (line) => lines.push(line), clock },
  );
  failing = 1;
  started[0]!.process.die();
  for (const least of [100, 200]) {
    await clock.untilWaiting();
    const [wait = 0] = clock.waits;
    expect(wait).toBeGreaterThanOrEqual(least);
    expect(wait).toBeLessThan(2 * least);
    await clock.advance(wait);
  }
  expect(started).toHaveLength(3);
  expect(supervised.current()).toBe(started[2]!.process);
  expect(lines).toEqual([
    'the thing ended unexpectedly, starting it again',
    'the thing did not start again: no luck',
    'the thing runs again',
  ]);

  await supervised.stop();
  expect(started[2]!.process.stopped).toBe(true);
  expect(clock.waits).toEqual([]);
  expect(started).toHaveLength(3);
});

test('who lived for a minute is started again as soon as at the first time', async () => {
  const clock = new TestClock();
  const started: Fake[] = [];
  const start = (): Promise<Fake> => {
    started.push(new Fake());
    return Promise.resolve(started[started.length - 1]!);
  };
  const supervised = await supervise('the thing', start, { report: () => undefined, clock });
  const dies = async (): Promise<number> => {
    started[started.length - 1]!.die();
    await clock.untilWaiting();
    const [wait = 0] = clock.waits;
    await clock.advance(wait);
    return wait;
  };
  await dies();
  await dies();
  expect(await dies()).toBeGreaterThanOrEqual(400);
  await clock.advance(60_001);
  expect(await dies()).toBeLessThan(200);
  await supervised.stop();
});

test("a first start that fails is the caller's to tell", async () => {
  await expect(
    supervise('the thing', () => Promise.reject(new Error('no luck')), { report: () => undefined }),
  ).rejects.toThrow('no luck');
});
