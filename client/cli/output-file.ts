import { open, rm } from 'node:fs/promises';
import { CliError, EXIT } from './exit';

/** A file that a command writes its result to, opened before what gives it. */
export interface OutputFile {
  /** Puts it into the file, in the place of what was there. @throws CliError that names the file */
  write(content: string): Promise<void>;
  /** Closes it; one that was made for this and not written is removed. */
  close(): Promise<void>;
}

/**
 * Opens the file that an option names, before the call whose result is to stand there: a path that can't be written costs nothing then. What is no regular
 * file, /dev/stdout, say, is written to as it is.
 * @param mode of a new file @param exclusive a file that is there is refused: it is somebody's
 * @throws CliError 2 that names the file
 */
export async function openOutputFile(
  path: string,
  what: string,
  { mode = 0o666, exclusive = false }: { mode?: number; exclusive?: boolean } = {},
): Promise<OutputFile> {
  const fail = (cause: NodeJS.ErrnoException): never => {
    throw new CliError(EXIT.usage, `can't write ${what} to ${path}: ${cause.code ?? cause.message}`, {}, { cause });
  };
  let made = true;
  const file = await open(path, 'ax', mode)
    .catch((cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'EEXIST' || exclusive) throw cause;
      made = false;
      return open(path, 'a');
    })
    .catch(fail);
  let written = false;
  return {
    async write(content) {
      try {
        if ((await file.stat()).isFile()) await file.truncate(0);
        await file.writeFile(content);
        written = true;
      } catch (cause) {
        fail(cause as NodeJS.ErrnoException);
      }
    },
    async close() {
      // Some systems tell only now that what was written has no room.
      await file.close().catch(written ? fail : () => undefined);
      if (made && !written) await rm(path, { force: true });
    },
  };
}
