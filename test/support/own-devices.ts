import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';

/**
 * The program that runs a command which is given devices by their names: see there. @returns undefined where that isn't possible, which is said
 */
export function ownDevices(): string | undefined {
  const program = resolve(__dirname, '../../scripts/with-own-devices');
  try {
    execFileSync(program, ['true'], { stdio: 'pipe' });
    return program;
  } catch (error) {
    process.stderr.write(`skipped, because /dev can't be made private here: ${(error as Error).message}\n`);
    return undefined;
  }
}
