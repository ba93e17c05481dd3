import { setTimeout as sleep } from 'node:timers/promises';

/** Far beyond what anything here takes on a machine that has other work: by then it hangs. */
const HOPELESS_MS = 240_000;

/**
 * Waits until it holds, however slow the machine is. Jest's limit for a test ends what never does, and says of which line it was.
 * @param patienceMs shorter where the program promises seconds, and what never comes would leave something behind @returns what it gave
 */
export async function eventually<T>(
  holds: () => T | Promise<T>,
  describe: () => string = () => holds.toString(),
  patienceMs = HOPELESS_MS,
): Promise<Exclude<T, false | undefined>> {
  for (const hopeless = Date.now() + patienceMs; ; await sleep(10)) {
    const held = await holds();
    if (held) return held as Exclude<T, false | undefined>;
    if (Date.now() > hopeless) throw new Error(`expected this to become true: ${describe()}`);
  }
}

/** Until a figure has not changed for many turns of the event loop, in which whoever could change it had theirs. */
export async function stalled(figure: () => number): Promise<void> {
  let [last, still] = [Number.NaN, 0];
  await eventually(() => {
    const now = figure();
    still = now === last ? still + 1 : 0;
    last = now;
    return still >= 30;
  });
}
