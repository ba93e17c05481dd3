import { readFile, stat } from 'node:fs/promises';
import { every, systemClock } from '../clock';
import type { Clock } from '../clock';
import { silent } from '../log/log';
import type { Logger } from '../log/log';

/** Files are looked at again when the last look is older: a change is felt within about a second. */
const LOOK_MS = 1_000;

export interface ReloadingOptions {
  lookMs?: number;
  /** Silent, unless told. */
  log?: Logger;
  /** The system's, unless told. */
  clock?: Clock;
}

/** Gives what the files hold now. `fresh`: look at them in any case, however short ago that was. */
export type Reloading<T> = (options?: { fresh?: boolean }) => Promise<T>;

/**
 * Keys and certificates that are replaced while a program runs: read again when a file has changed (inode, size or time, so a replaced
 * symbolic link of a mounted Secret counts), parsed once for each change. A change that can't be read or parsed is logged and the last
 * good value stays: files that belong together are written one after the other, and a service must not fail in between.
 * @param parse gets the contents in the order of `paths`
 * @throws what reading or parsing throws, the first time only
 */
export async function reloadingFiles<T>(
  paths: readonly string[],
  parse: (contents: Buffer[]) => T | Promise<T>,
  { lookMs = LOOK_MS, clock = systemClock, log = silent }: ReloadingOptions = {},
): Promise<Reloading<T>> {
  const stamp = async (): Promise<string> => {
    const all = await Promise.all(paths.map((path) => stat(path, { bigint: true })));
    return all.map(({ ino, size, mtimeNs }) => `${ino}.${size}.${mtimeNs}`).join(' ');
  };
  const load = async (): Promise<T> => parse(await Promise.all(paths.map((path) => readFile(path))));

  let loaded = await stamp();
  let value = await load();
  let lookedAt = clock.monotonic();
  let looking: Promise<void> | undefined;

  const look = async (): Promise<void> => {
    lookedAt = clock.monotonic();
    try {
      const now = await stamp();
      if (now === loaded) return;
      value = await load();
      // Stamped before it was read: what changed in between is read at the next look.
      loaded = now;
      log.info({ files: paths }, 'read again after a change');
    } catch (err) {
      log.error({ err: describe(err), files: paths }, 'changed files can not be used, the last good ones stay');
    }
  };

  return async ({ fresh = false } = {}) => {
    if (fresh || clock.monotonic() - lookedAt >= lookMs) looking ??= look().finally(() => (looking = undefined));
    await looking;
    return value;
  };
}

/** As `reloadingFiles`, for code that can't wait: `current` is what the files held about a second ago. */
export interface CurrentFiles<T> {
  readonly current: T;
  close(): void;
}

/** Looks at the files every second until it is closed; doesn't keep the process alive. @throws as `reloadingFiles` */
export async function currentFiles<T>(
  paths: readonly string[],
  parse: (contents: Buffer[]) => T | Promise<T>,
  { lookMs = LOOK_MS, clock = systemClock, log }: ReloadingOptions = {},
): Promise<CurrentFiles<T>> {
  const get = await reloadingFiles(paths, parse, { lookMs: 0, clock, log });
  let current: T = await get();
  const timer = every(clock, lookMs, () => void get().then((value) => (current = value)));
  return {
    get current() {
      return current;
    },
    close: () => timer.cancel(),
  };
}

/** Parsers of keys quote what they parse in some errors: only name and code are kept. */
function describe(error: unknown): { name: string; code?: unknown } {
  const { name, code } = error as Error & { code?: unknown };
  return { name, code };
}
