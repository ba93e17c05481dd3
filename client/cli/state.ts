import { stat } from 'node:fs/promises';
import { proveWritable, readIfThere } from '../../runtime/files/whole-file';
import { CliError, EXIT } from './exit';
import { stateFolder } from './folders';
import { Output } from './output';

/** Nothing can be kept there, and what was kept before can be read. */
const UNWRITABLE = new Set(['EROFS', 'EACCES', 'EPERM', 'ENOSPC', 'EDQUOT']);

export function isUnwritable(error: unknown): boolean {
  return UNWRITABLE.has((error as NodeJS.ErrnoException).code ?? '');
}

interface StateFile {
  file: string;
  /** In words: the saved session. */
  what: string;
  /** The command that puts another one in its place. */
  heal: string;
  /** Default: authentication. */
  exitCode?: number;
}

/**
 * Reads a file of this machine's state.
 * @returns undefined where there is none
 * @throws CliError `state.unreadable`, `state.damaged` that names the file and says what to do; a CliError that `parse` throws
 */
export async function readState<T>(place: StateFile, parse: (text: string) => T | Promise<T>): Promise<T | undefined> {
  const { file, what, heal, exitCode = EXIT.authentication } = place;
  const text = await readIfThere(file).catch(async (cause: NodeJS.ErrnoException) => {
    if (cause.syscall === undefined) throw damagedState(place, cause);
    throw new CliError(
      exitCode,
      `can't read ${what} ${file}: ${cause.code}`,
      { code: 'state.unreadable', hint: (await foreignOwner(file)) ?? heal },
      { cause },
    );
  });
  if (text === undefined) return undefined;
  try {
    return await parse(text);
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    throw damagedState(place, cause, text.trim() === '' ? 'it is empty' : undefined);
  }
}

function damagedState(
  { file, what, heal, exitCode = EXIT.authentication }: StateFile,
  cause: unknown,
  why = 'it is damaged',
): CliError {
  return new CliError(exitCode, `can't read ${what} ${file}: ${why}`, { code: 'state.damaged', hint: heal }, { cause });
}

/** True of a refusal to read a file of state. */
export function isBadState(error: unknown): error is CliError {
  return error instanceof CliError && /^state\.(damaged|unreadable)$/.test(error.details.code ?? '');
}

/**
 * Before a call that can't be undone: what it gives can be kept. Otherwise each try would leave one more session at the service, or an account.
 * @throws CliError 1 `state.unwritable`
 */
export async function requireWritableState(): Promise<void> {
  const folder = stateFolder();
  await proveWritable(folder).catch(async (cause: NodeJS.ErrnoException) => {
    const full = cause.code === 'ENOSPC' || cause.code === 'EDQUOT';
    const hint = full
      ? 'make room there, or set XDG_STATE_HOME to another folder'
      : ((await foreignOwner(cause.path ?? folder)) ?? 'set XDG_STATE_HOME to a folder that you can write to');
    throw new CliError(
      EXIT.failure,
      `can't write to ${folder}: ${cause.code ?? cause.message}`,
      { code: 'state.unwritable', hint: `nothing was sent; ${hint}` },
      { cause },
    );
  });
}

let warned = false;

/**
 * Keeps what a command got on its way, where that can be kept: reading needs no folder that can be written to. A refresh token whose successor was not kept is
 * good again a few seconds later, so the next command goes on with it. Says so once.
 */
export async function keepIfWritable(keep: () => Promise<unknown>): Promise<void> {
  try {
    await keep();
  } catch (error) {
    if (!isUnwritable(error)) throw error;
    if (!warned)
      new Output().warning(
        `can't write to ${stateFolder()} (${(error as NodeJS.ErrnoException).code}): the session is used and not renewed there`,
      );
    warned = true;
  }
}

/**
 * Removes a file of state after what it was about has ended; where that can't be, it is told, because nothing brings back what has ended.
 * @returns what `remove` does; false where it could not
 */
export async function removeIfWritable(out: Output, remove: () => Promise<boolean>): Promise<boolean> {
  try {
    return await remove();
  } catch (error) {
    if (!isUnwritable(error)) throw error;
    const { path, code } = error as NodeJS.ErrnoException;
    out.warning(`can't remove ${path}: ${code}; what it holds is worth nothing any more`);
    return false;
  }
}

/** Where a file is somebody else's, as after `sudo sls`: how to have it back. */
async function foreignOwner(path: string): Promise<string | undefined> {
  const owner = await stat(path).then(
    ({ uid }) => uid,
    () => undefined,
  );
  if (owner === undefined || owner === process.getuid?.()) return undefined;
  return `it belongs to ${owner === 0 ? 'root, as after sudo sls' : `user ${owner}`}: sudo chown -R "$(id -u)" ${JSON.stringify(stateFolder())}`;
}
