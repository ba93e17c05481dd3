import { AsyncLocalStorage } from 'node:async_hooks';
import type { TraceContext } from './context';
import type { Tracer } from './tracer';

/** Where work is done: its place in a trace, and where what begins there is recorded. */
export interface Place {
  readonly context: TraceContext;
  readonly tracer: Tracer | undefined;
}

/** Follows work through its promises and callbacks. Outside of `runAt` there is nothing in it. */
const places = new AsyncLocalStorage<Place>();

export function currentPlace(): Place | undefined {
  return places.getStore();
}

/** Does work, and whatever that begins, at this place. */
export function runAt<T>(place: Place, work: () => T): T {
  return places.run(place, work);
}
