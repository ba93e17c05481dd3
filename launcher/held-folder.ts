import { open, readlink, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { systemClock } from '../runtime/clock';
import type { Clock } from '../runtime/clock';
import { LauncherError } from './errors';

/** Between two looks. */
const LOOK_MS = 1_000;

/**
 * An installation's folder while it runs. Its programs know it by its path, so that after a move they would find nothing there, and make parts of it anew. This is
 * the folder itself, kept open: whoever is about to make something there asks first whether the path still leads to it.
 */
export class HeldFolder {
  private constructor(
    private readonly path: string,
    private readonly folder: FileHandle,
    private readonly clock: Clock,
  ) {}

  static async open(path: string, clock: Clock = systemClock): Promise<HeldFolder> {
    return new HeldFolder(path, await open(path, 'r'), clock);
  }

  /** @throws LauncherError launcher.folder_moved */
  readonly requireThere = async (): Promise<void> => {
    const there = await stat(this.path).catch(() => undefined);
    const { dev, ino, nlink } = await this.folder.stat();
    if (there?.dev === dev && there.ino === ino) return;
    const now = nlink === 0 ? undefined : await readlink(`/proc/self/fd/${this.folder.fd}`).catch(() => undefined);
    throw new LauncherError(
      'launcher.folder_moved',
      nlink === 0
        ? `the installation's folder was removed while it ran: ${this.path}`
        : `the installation's folder was moved while it ran: expected it at ${this.path}${now === undefined ? '' : `, got it at ${now}`}`,
      nlink === 0
        ? 'restore it from a backup before you start sls up again: its keys and accounts were in it'
        : `nothing was made at the old place. Move it back, or start it where it is: sls up --dir ${now ?? 'FOLDER'}`,
    );
  };

  /** Looks every second. @returns resolves with the refusal once it is no more where it was; never otherwise */
  async moved(signal: AbortSignal): Promise<LauncherError> {
    for (;;) {
      await this.clock.sleep(LOOK_MS, signal);
      try {
        await this.requireThere();
      } catch (error) {
        if (error instanceof LauncherError) return error;
      }
    }
  }

  close(): Promise<void> {
    return this.folder.close();
  }
}
