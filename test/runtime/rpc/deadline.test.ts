import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { deadline } from '../../../runtime/rpc/deadline';
import { TestClock } from '../../support/clock';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

test('fires when only a joined signal refers to it and garbage was collected', async () => {
  const clock = new TestClock();
  const joined = ((): AbortSignal => AbortSignal.any([new AbortController().signal, deadline(300, clock).signal]))();
  joined.addEventListener('abort', () => undefined);
  for (let round = 0; round < 5; round += 1) {
    await setImmediate();
    collectGarbage();
  }
  await clock.advance(299);
  expect(joined.aborted).toBe(false);
  await clock.advance(1);
  expect(joined.aborted).toBe(true);
  expect(joined.reason).toMatchObject({ name: 'TimeoutError' });
});

test('does not fire once cleared', async () => {
  const clock = new TestClock();
  const { signal, clear } = deadline(50, clock);
  clear();
  await clock.advance(50);
  expect(signal.aborted).toBe(false);
});
