import { writeFile } from 'node:fs/promises';

/**
 * Gives a system's error the path that it is about, as Node does where it knows it: "ENOSPC: no space left on device, write '/a/b'". Of what fails on an open
 * file Node says no path, and of a draft one that means nothing to anybody.
 * @param instead the draft's
 * @returns the error
 */
export function namePath(error: unknown, path: string, instead?: string): unknown {
  if (typeof error !== 'object' || error === null || !('syscall' in error)) return error;
  const failed = error as NodeJS.ErrnoException & { dest?: string };
  if (failed.path === undefined) failed.message += ` '${path}'`;
  else if (failed.path === instead && failed.dest === undefined) failed.message = failed.message.replace(instead, path);
  else return error;
  failed.path = path;
  return error;
}

/** Does something with a file: what fails names it. @throws as `work`, with the path */
export async function onFile<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw namePath(error, path);
  }
}

/** As fs.writeFile: a file that nobody reads before it is whole. @throws what the system says, with the path */
export function writeNamed(path: string, content: string | Uint8Array): Promise<void> {
  return onFile(path, () => writeFile(path, content));
}
