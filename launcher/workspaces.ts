import { chmod, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DEFAULT_ENCLAVE } from '../attestation/evidence/enclave-name';
import type { EnclaveId } from '../attestation/evidence/enclave-name';

/** Name of an enclave's folder. The default one has the folder that users had before there were others. */
export function workspaceOf({ user, name }: EnclaveId): string {
  return name === DEFAULT_ENCLAVE ? user : `${user}.${name}`;
}

/** Removes the folder of an enclave, whose end has come; with no name all of the user's. That there is none is no error. */
export async function removeWorkspaces(folder: string, id: EnclaveId): Promise<void> {
  const names =
    id.name === ''
      ? (await readdir(folder).catch(() => [])).filter((name) => name === id.user || name.startsWith(`${id.user}.`))
      : [workspaceOf(id)];
  for (const name of names) await removeTree(join(folder, name));
}

async function removeTree(path: string): Promise<void> {
  const remove = (): Promise<void> => rm(path, { recursive: true, force: true });
  await remove().catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EACCES' && error.code !== 'EPERM') throw error;
    await unlock(path);
    await remove();
  });
}

/** Lets a folder's owner, who is us, change it again: package managers take that right away from what they fetch, and anybody may. */
async function unlock(folder: string): Promise<void> {
  await chmod(folder, 0o700);
  for (const entry of await readdir(folder, { withFileTypes: true }))
    if (entry.isDirectory()) await unlock(join(folder, entry.name));
}
