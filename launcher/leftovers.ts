import { readdir, readFile } from 'node:fs/promises';
import { readableText } from '../runtime/text/utf8';

/**
 * Marks an enclave and, inherited, the commands that run in it: INSTALLATION/WORKLOAD_UID. In a cluster the container's end is theirs too;
 * here a killed enclave can't end them, and whoever started it has to.
 */
export const WORKLOAD_VARIABLE = 'SLS_WORKLOAD';

/** Kills every process whose mark begins so. @returns how many there were */
export async function endLeftovers(mark: string): Promise<number> {
  const wanted = `${WORKLOAD_VARIABLE}=${mark}`;
  let killed = 0;
  for (const name of await readdir('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    // Processes of others can't be read, and those that have ended are gone.
    const environment = readableText(await readFile(`/proc/${name}/environ`).catch(() => Buffer.alloc(0)));
    if (!environment.split('\0').some((variable) => variable.startsWith(wanted))) continue;
    try {
      process.kill(pid, 'SIGKILL');
      killed++;
    } catch {
      // It ended meanwhile.
    }
  }
  return killed;
}
