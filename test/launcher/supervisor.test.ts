import { supervise } from '../../launcher/supervisor';
import type { Running } from '../../launcher/supervisor';

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

const until = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 10));
};

test('what dies is started again with growing delays, also when a start fails; what was stopped stays down', async () => {
  const started: Array<{ at: number; process: Fake }> = [];
  let failing = 0;
  const lines: string[] = [];
  const supervised = await supervise(
    'the thing',
    () => {
      const process = new Fake();
      started.push({ at: Date.now(), process });
      if (failing-- > 0) return Promise.reject(new Error('no luck'));
      return Promise.resolve(process);
    },
    (line) => lines.push(line),
  );
  failing = 1;
  const diedAt = Date.now();
  started[0]!.process.die();
  await until(() => started.length === 3 && supervised.current() === started[2]!.process);
  expect(started[1]!.at - diedAt).toBeGreaterThan(150);
  expect(started[2]!.at - started[1]!.at).toBeGreaterThan(350);
  expect(lines).toEqual([
    'the thing ended unexpectedly, starting it again',
    'the thing did not start again: no luck',
    'the thing runs again',
  ]);

  await supervised.stop();
  expect(started[2]!.process.stopped).toBe(true);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(started).toHaveLength(3);
});

test("a first start that fails is the caller's to tell", async () => {
  await expect(
    supervise(
      'the thing',
      () => Promise.reject(new Error('no luck')),
      () => undefined,
    ),
  ).rejects.toThrow('no luck');
});
