import { Backoff } from '../../runtime/backoff';
import { TestClock } from '../support/clock';

const options = { firstMs: 100, mostMs: 1_000 };

test('doubles up to the most, and begins again after a success', () => {
  const backoff = new Backoff({ ...options, random: () => 1 });
  expect(Array.from({ length: 6 }, () => backoff.next())).toEqual([100, 200, 400, 800, 1_000, 1_000]);
  backoff.reset();
  expect(backoff.next()).toBe(100);
});

test('waits half of each step at least, and the rest by chance', () => {
  const least = new Backoff({ ...options, random: () => 0 });
  expect(Array.from({ length: 5 }, () => least.next())).toEqual([50, 100, 200, 400, 500]);
  const waits = Array.from({ length: 100 }, () => new Backoff(options).next());
  expect(waits.every((ms) => ms >= 50 && ms < 100)).toBe(true);
  expect(new Set(waits).size).toBeGreaterThan(90);
});

test('waits by its clock, until its signal aborts', async () => {
  const clock = new TestClock();
  const backoff = new Backoff({ ...options, clock, random: () => 1 });
  const controller = new AbortController();
  const waits = [backoff.wait(), backoff.wait(controller.signal)];
  expect(clock.waits).toEqual([100, 200]);
  await clock.advance(100);
  await waits[0];
  controller.abort(new Error('enough'));
  await expect(waits[1]).rejects.toThrow('enough');
});
