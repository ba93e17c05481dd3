import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Debian's libfaketime, which scripts/setup installs for tests. */
function library(): string {
  for (const folder of readdirSync('/usr/lib')) {
    try {
      const faketime = join('/usr/lib', folder, 'faketime');
      if (readdirSync(faketime).includes('libfaketime.so.1')) return join(faketime, 'libfaketime.so.1');
    } catch {
      // Of another architecture.
    }
  }
  throw new Error('expected libfaketime to be installed: run scripts/setup tests');
}

/** The environment of a program whose clock is wrong by so much, such as -2m or +400d. Its timers are right. */
export function clockOff(by: string): Record<string, string> {
  return { LD_PRELOAD: library(), FAKETIME: by, FAKETIME_DONT_FAKE_MONOTONIC: '1' };
}

/**
 * A command that runs another one on a machine whose clock is wrong, whatever that starts in turn: programs don't inherit their launcher's environment. It has
 * an /etc of its own. @returns undefined where that isn't possible, which is said: it takes root
 */
export function machineOff(by: string): { under: string[]; remove(): void } | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'sls-clock-'));
  const etc = join(folder, 'etc');
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  try {
    cpSync('/etc', etc, { recursive: true, verbatimSymlinks: true });
    writeFileSync(join(etc, 'ld.so.preload'), `${library()}\n`);
    writeFileSync(join(etc, 'faketimerc'), `${by}\n`);
    const under = ['unshare', '--mount', 'sh', '-c', `mount --bind '${etc}' /etc && exec "$0" "$@"`];
    execFileSync(under[0]!, [...under.slice(1), 'true'], { stdio: 'pipe' });
    return { under, remove };
  } catch (error) {
    remove();
    process.stderr.write(`skipped, because /etc can't be changed for one program here: ${(error as Error).message}\n`);
    return undefined;
  }
}
