import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { runFolder } from './run-folder';

const root = resolve(__dirname, '../..');

/** A program of dist/, as it is shipped. The first test of a run that needs one builds them all: others don't wait for a build. */
export function built(name: string): string {
  const done = join(runFolder(), 'built');
  if (!existsSync(done)) {
    // Another worker may be at it: whoever gets the lock second finds it done.
    const once = '[ -e "$0" ] || { "$1" scripts/build.mjs && touch "$0"; }';
    execFileSync('flock', ['--exclusive', `${done}.lock`, 'sh', '-c', once, done, process.execPath], {
      cwd: root,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  }
  return join(root, 'dist', `${name}.cjs`);
}
