import type { Launcher } from '../../functions/login/launcher/launcher';

/** Stands at the seam where launchers are plugged in: nothing runs and nothing is kept, but for what the test says. */
export function fakeLauncher(own: Partial<Launcher>): Launcher {
  return {
    persistent: false,
    ensure: () => Promise.reject(new Error('no enclave was set')),
    discard: () => Promise.resolve(),
    find: () => Promise.resolve(new Map()),
    stop: () => Promise.resolve(),
    remove: () => Promise.resolve(),
    removeAll: () => Promise.resolve(),
    ...own,
  };
}
