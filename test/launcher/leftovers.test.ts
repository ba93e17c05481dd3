import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { randomUUID } from 'node:crypto';
import { endLeftovers, WORKLOAD_VARIABLE } from '../../launcher/leftovers';

test('processes of a workload are ended, with all that they started, and no others', async () => {
  const mark = randomUUID();
  const start = async (uid: string): ReturnType<typeof startOne> => startOne(`${mark}/${uid}`);
  const [one, two] = [await start('one'), await start('two')];
  expect(await endLeftovers(`${mark}/one`)).toBe(2);
  await one.ended;
  expect(two.child.exitCode ?? two.child.signalCode).toBeNull();
  expect(await endLeftovers(`${mark}/`)).toBe(2);
  await two.ended;
});

async function startOne(mark: string): Promise<{ child: ReturnType<typeof spawn>; ended: Promise<unknown> }> {
  const child = spawn('sh', ['-c', 'cat <&3 & wait'], {
    env: { PATH: process.env['PATH'], [WORKLOAD_VARIABLE]: mark },
    stdio: ['ignore', 'pipe', 'ignore', 'pipe'],
  });
  const ended = once(child, 'close');
  // What comes back was passed on by the shell's child: both are there.
  (child.stdio[3] as Writable).write('there');
  await once(child.stdout!, 'data');
  return { child, ended };
}
