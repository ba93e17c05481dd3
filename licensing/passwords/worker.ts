import { parentPort } from 'node:worker_threads';
import { compareSync, hashSync } from 'bcryptjs';
import type { Answer, Hashing } from './work';

/** The program of a hashing thread: one piece of work after another. bcrypt blocks its thread for 100 to 400 ms. */
parentPort?.on('message', (work: Hashing) => {
  const value = work.kind === 'hash' ? hashSync(work.prehash, work.cost) : compareSync(work.prehash, work.hash);
  if (work.kind === 'compare') for (const hash of work.padding) compareSync(work.prehash, hash);
  parentPort?.postMessage({ value } satisfies Answer);
});
