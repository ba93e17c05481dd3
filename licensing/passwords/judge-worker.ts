import { parentPort } from 'node:worker_threads';
import { weakness } from './strength';
import type { Answer, Work } from './work';

/** The program of the thread that judges new passwords: zxcvbn takes a tenth of a second for some. */
parentPort?.on('message', (work: Work) => {
  const value = work.kind === 'judge' ? weakness(work.password, work.inputs) : undefined;
  parentPort?.postMessage({ value } satisfies Answer);
});
