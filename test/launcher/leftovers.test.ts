import { spawn } from 'node:child_process';
import { once } from 'node:events';
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
  const child = spawn('sh', ['-c', 'sleep 1000 & echo; wait'], {
    env: { PATH: process.env['PATH'], [WORKLOAD_VARIABLE]: mark },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const ended = once(child, 'close');
  await once(child.stdout, 'data');
  // The shell and its child are both there once the output is.
  await new Promise((resolve) => setTimeout(resolve, 100));
  return { child, ended };
}
