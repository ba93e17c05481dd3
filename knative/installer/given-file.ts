import { readText } from '../../runtime/text/utf8';
import { InstallationError } from './installation';

/** The text of a file that a flag names. @throws InstallationError that names both */
export async function readGiven(flag: string, path: string): Promise<string> {
  return readText(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.syscall === undefined) throw cause;
    throw new InstallationError(`--${flag}: expected a file that can be read, got ${path} (${cause.code ?? ''})`, {
      cause,
    });
  });
}
