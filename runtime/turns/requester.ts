import { AsyncLocalStorage } from 'node:async_hooks';

/** For whom something is done: known to what works for a call without being handed it, as to a statement of the database. */
export interface Requester {
  /** Those who wait take turns by it: a network address, or an account once that is known. */
  readonly owner: string;
  /** Aborts when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
  /** Something was begun that has to come to an end, whoever still waits: from then on nothing of it is dropped. */
  begun: boolean;
  /** What goes on after that, as a timer that was set on the way, is done for nobody. */
  over: boolean;
  /** Statements that the database was asked for. */
  statements: number;
}

const requesters = new AsyncLocalStorage<Requester | undefined>();

/** For whom the caller works; undefined where it is for the program itself. */
export function currentRequester(): Requester | undefined {
  const requester = requesters.getStore();
  return requester?.over === true ? undefined : requester;
}

/** Does work, and whatever that begins, for somebody. */
export function workFor<T>(requester: Requester, work: () => T): T {
  return requesters.run(requester, work);
}

/** Does work for nobody in particular: several wait for what comes of it, and one of them who goes is not to take it from the others. */
export function workForAll<T>(work: () => T): T {
  return requesters.run(undefined, work);
}
