import { writeSync } from 'node:fs';

/** How long a reader may keep a line waiting that has no room for it: nobody else is served meanwhile. */
const PATIENCE_MS = 100;
const LOOK_MS = 5;

type Write = (fd: number, bytes: Uint8Array, offset: number) => number;

/** How many lines are missing, and why the first of them is: ENOSPC, EPIPE. */
interface Lost {
  lines: number;
  reason: string;
}

/**
 * Writes lines to a descriptor, one after another, each before the call returns. What can't be written is left out: a full disk or a reader that has
 * ended must not fail the work of which the line tells. The first line that can be written again comes after one that says how many are missing.
 */
export class Lines {
  private lost: Lost | undefined;
  /** What was written last is not a whole line. */
  private torn = false;

  /** @param describe the line that says how many are missing */
  constructor(
    private readonly fd: number,
    private readonly describe: (lost: Lost) => string,
    private readonly writeTo: Write = writeSync,
  ) {}

  /** @param line ends in a line break */
  write(line: string): void {
    let failure = this.lost && this.put(this.describe(this.lost));
    if (failure === undefined) {
      this.lost = undefined;
      failure = this.put(line);
    }
    if (failure === undefined) return;
    const { lines, reason } = this.lost ?? { lines: 0, reason: failure };
    this.lost = { lines: lines + 1, reason };
  }

  /** @returns the system's code where it can't be written */
  private put(line: string): string | undefined {
    const bytes = Buffer.from(this.torn ? `\n${line}` : line);
    // Who has kept one line waiting in vain is not waited for again.
    let left = this.lost ? 0 : PATIENCE_MS;
    for (let offset = 0; offset < bytes.length;) {
      try {
        offset += this.writeTo(this.fd, bytes, offset);
        this.torn = offset < bytes.length;
      } catch (error) {
        const { code = 'unknown' } = error as NodeJS.ErrnoException;
        if (code === 'EINTR') continue;
        if (code !== 'EAGAIN' || left <= 0) return code;
        left -= LOOK_MS;
        pause(LOOK_MS);
      }
    }
    return undefined;
  }
}

/** A log line is written before its program goes on, so this can't give others a turn. */
function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
