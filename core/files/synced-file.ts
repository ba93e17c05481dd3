import type { FileHandle } from 'node:fs/promises';

/** Written and not yet on its way to the disk: more, and the system is told to begin. */
const SYNC_BYTES = 32 * 1024 * 1024;

/**
 * Writes a file from its beginning and leaves it on disk. The disk begins while more is still coming: left to the end, a large file's sender would wait
 * for all of it at once.
 */
export class SyncedFile {
  private unsynced = 0;
  private syncing: Promise<void> | undefined;
  private failure: { error: unknown } | undefined;

  /** @param file open for writing, empty; closed by who opened it, once nothing of this is under way */
  constructor(private readonly file: FileHandle) {}

  /** @throws what the system says, about this piece or about one of before */
  async write(piece: Uint8Array): Promise<void> {
    for (let offset = 0; offset < piece.length; ) offset += (await this.file.write(piece, offset)).bytesWritten;
    this.unsynced += piece.length;
    if (this.failure) throw this.failure.error;
    if (this.unsynced < SYNC_BYTES || this.syncing) return;
    this.unsynced = 0;
    this.syncing = this.file.datasync().then(
      () => void (this.syncing = undefined),
      (error: unknown) => void (this.failure = { error }),
    );
  }

  /** All of it, and what `chmod` and others changed, is on disk. @throws what the system says */
  async sync(): Promise<void> {
    await this.syncing;
    if (this.failure) throw this.failure.error;
    await this.file.sync();
  }
}
