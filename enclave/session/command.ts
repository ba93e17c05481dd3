import type { Readable } from 'node:stream';

/** A command that runs, with pipes or with a terminal. */
export interface Command {
  /** Its process group. */
  group: number;
  /** What it writes. With a terminal, everything is standard output. */
  outputs: Array<{ name: 'stdout' | 'stderr'; stream: Readable }>;
  /** Resolves when there is room for more, or nobody who would read it. */
  write(bytes: Buffer): Promise<void>;
  endInput(): void;
  resize(columns: number, rows: number): void;
  exited: Promise<Exit>;
  /** Told after it was sent SIGCONT. */
  resumed?(): void;
}

export interface Exit {
  /** Exit status, or 128 and the signal's number. */
  code: number;
  /** POSIX name; empty when no signal ended it. */
  signal: string;
}

export interface CommandStart {
  /** Absolute. */
  file: string;
  argv: string[];
  /** Absolute. */
  directory: string;
  env: Record<string, string>;
}
