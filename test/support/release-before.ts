import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, symlinkSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { built } from './built';

const root = resolve(__dirname, '../..');

/** scripts/release-before says so of a clone without the history. */
const NO_HISTORY = 3;

/** The programs of a release: a dist/ of its own. */
export interface Programs {
  dist: string;
}

/** The release that is tested, as it is built. */
export const thisRelease = (): Programs => ({ dist: dirname(built('sls')) });

/** The release before it; undefined where the clone doesn't have its history, which is said: such tests are skipped. */
export const releaseBefore: Programs | undefined = prepare();

function prepare(): Programs | undefined {
  const { status, stdout, stderr } = spawnSync(join(root, 'scripts/release-before'), { encoding: 'utf8' });
  if (status === 0) return { dist: join(stdout.trim(), 'dist') };
  if (status !== NO_HISTORY) throw new Error(`scripts/release-before ended with ${status}: ${stderr}`);
  console.error(`the release before this one: not tested. ${stderr}`);
  return undefined;
}

/** A copy whose programs may be replaced. */
export function copyOf({ dist }: Programs, folder: string): Programs {
  cpSync(dist, join(folder, 'dist'), { recursive: true });
  // What they load at run time.
  const own = join(dist, '../node_modules');
  symlinkSync(existsSync(own) ? own : join(root, 'node_modules'), join(folder, 'node_modules'));
  return { dist: join(folder, 'dist') };
}
