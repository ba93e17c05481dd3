import { rename, writeFile } from 'node:fs/promises';

/** Tells whoever started this program that it serves, and on which ports. Atomic: a reader sees all of it or nothing. */
export async function writeReadyFile(path: string | undefined, ports: Record<string, number>): Promise<void> {
  if (path === undefined) return;
  await writeFile(`${path}.new`, JSON.stringify({ pid: process.pid, ports }));
  await rename(`${path}.new`, path);
}
