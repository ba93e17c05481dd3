import { Threads } from '../../licensing/passwords/threads';

/** Version and cost of a bcrypt string. */
const costOf = (hash: string): number => Number(/^\$2[aby]\$(\d\d)\$/.exec(hash)?.[1]);

/**
 * Watches what passwords are compared with from now on.
 * @returns what gives, for each comparison until then, bcrypt's costs of all the hashes that were computed for it
 */
export function watchComparisons(): () => number[][] {
  const run = jest.spyOn(Threads.prototype, 'run');
  return () => {
    const works = run.mock.calls.map(([work]) => work);
    run.mockRestore();
    return works.flatMap((work) => (work.kind === 'compare' ? [[work.hash, ...work.padding].map(costOf)] : []));
  };
}
