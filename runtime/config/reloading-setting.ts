import { ConfigError, settingFileError } from './environment';
import { currentFiles, reloadingFiles } from './reloading-file';
import type { CurrentFiles, Reloading, ReloadingOptions } from './reloading-file';

type Parse<T> = (contents: Buffer[]) => T | Promise<T>;

/**
 * `reloadingFiles` of files that settings name: each is read once at the start, and what is wrong with it names its setting.
 * @param files paths by the names of their settings
 * @param parse gets the contents in the order of `files`
 * @throws ConfigError: never with what is in a file
 */
export function reloadingSetting<T>(
  files: Readonly<Record<string, string>>,
  parse: Parse<T>,
  options: ReloadingOptions = {},
): Promise<Reloading<T>> {
  return naming(files, reloadingFiles(Object.values(files), parse, options));
}

/** `currentFiles` of files that settings name: as `reloadingSetting`. */
export function currentSetting<T>(
  files: Readonly<Record<string, string>>,
  parse: Parse<T>,
  options: ReloadingOptions = {},
): Promise<CurrentFiles<T>> {
  return naming(files, currentFiles(Object.values(files), parse, options));
}

async function naming<T>(files: Readonly<Record<string, string>>, loading: Promise<T>): Promise<T> {
  try {
    return await loading;
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause;
    const { syscall, path, code, message } = cause as NodeJS.ErrnoException;
    const concerned = Object.entries(files).filter(([, file]) => path === undefined || file === path);
    const reason = syscall ? `the file can't be read: ${code}` : safe(cause, message);
    throw settingFileError(Object.fromEntries(concerned), reason, cause);
  }
}

/** A parser of JSON quotes what it parses. */
function safe(error: unknown, message: string): string {
  return error instanceof SyntaxError ? 'expected JSON, got something else' : message;
}
