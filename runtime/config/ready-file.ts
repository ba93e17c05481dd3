import { replaceFile } from '../files/whole-file';

/** Tells whoever started this program that it serves, and on which ports. */
export async function writeReadyFile(path: string | undefined, ports: Record<string, number>): Promise<void> {
  if (path !== undefined) await replaceFile(path, JSON.stringify({ pid: process.pid, ports }), 0o644);
}
