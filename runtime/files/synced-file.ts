import type { FileHandle } from 'node:fs/promises';
import { onFile } from '../name-path';

/** Pieces that are being written while the next one comes. */
const WRITES = 4;
/** Written and not yet on its way to the disk: more, and the system is told to begin. */
const SYNC_BYTES = 32 * 1024 * 1024;

/**
 * Writes a file from its beginning and leaves it on disk. The disk begins while more is still coming: left to the end, a large file's sender would wait
 * for all of it at once.
 */
export class SyncedFile {
  private position = 0;
  private readonly writing: Array<Promise<void>> = [];
  private unsynced = 0;
  private syncing: Promise<void> | undefined;
  private failure: { error: unknown } | undefined;

  /**
   * @param file open for writing, empty; closed by who opened it, once nothing of this is under way
   * @param path what errors name
   */
  constructor(
    private readonly file: FileHandle,
    private readonly path: string,
  ) {}

  /**
   * Returns before the piece is written, unless as many wait as there may be: whoever sends need not wait for the file.
   * @param piece not to be changed afterwards
   * @throws what the system says, about one of before
   */
  async write(piece: Uint8Array): Promise<void> {
    const { position } = this;
    this.position += piece.length;
    const written = onFile(this.path, () => this.put(piece, position));
    // Looked at in its turn; a failure before that is not unhandled.
    written.catch(() => undefined);
    this.writing.push(written);
    if (this.writing.length > WRITES) await this.writing.shift();
    this.unsynced += piece.length;
    if (this.failure) throw this.failure.error;
    if (this.unsynced < SYNC_BYTES || this.syncing) return;
    this.unsynced = 0;
    this.syncing = onFile(this.path, () => this.file.datasync()).then(
      () => void (this.syncing = undefined),
      (error: unknown) => void (this.failure = { error }),
    );
  }

  private async put(piece: Uint8Array, position: number): Promise<void> {
    for (let offset = 0; offset < piece.length;)
      offset += (await this.file.write(piece, offset, piece.length - offset, position + offset)).bytesWritten;
  }

  /** All of it is in the file, and may not be on disk. @throws what the system says, with the path */
  async written(): Promise<void> {
    await Promise.all(this.writing);
    await this.syncing;
    if (this.failure) throw this.failure.error;
  }

  /** All of it, and what `chmod` and others changed, is on disk. @throws what the system says */
  async sync(): Promise<void> {
    await this.written();
    await onFile(this.path, () => this.file.sync());
  }
}
