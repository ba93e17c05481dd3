import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { deadline } from '../../../runtime/rpc/deadline';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

test('fires when only a joined signal refers to it and garbage was collected', async () => {
  const joined = ((): AbortSignal => AbortSignal.any([new AbortController().signal, deadline(300).signal]))();
  joined.addEventListener('abort', () => undefined);
  for (let round = 0; round < 5; round += 1) {
    await sleep(20);
    collectGarbage();
  }
  await sleep(400);
  expect(joined.aborted).toBe(true);
  expect(joined.reason).toMatchObject({ name: 'TimeoutError' });
});

test('does not fire once cleared', async () => {
  const { signal, clear } = deadline(50);
  clear();
  await sleep(120);
  expect(signal.aborted).toBe(false);
});
