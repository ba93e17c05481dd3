import { systemClock } from '../clock';
import type { Clock } from '../clock';

/**
 * A signal that aborts after `milliseconds`, with a TimeoutError, unless cleared before. The timer keeps the process from nothing, and holds the
 * signal itself: Node.js collects an AbortSignal.timeout that only AbortSignal.any refers to, and then it never fires.
 */
export function deadline(milliseconds: number, clock: Clock = systemClock): { signal: AbortSignal; clear(): void } {
  const controller = new AbortController();
  const timer = clock.after(milliseconds, () => {
    controller.abort(new DOMException(`not done within ${milliseconds} ms`, 'TimeoutError'));
  });
  return { signal: controller.signal, clear: () => timer.cancel() };
}
