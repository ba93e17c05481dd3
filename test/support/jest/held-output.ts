import fs from 'node:fs';

const STANDARD_ERROR = 2;
/** Of the last lines only: a test that fails prints no more than one can read. */
const MAX_BYTES = 32 * 1024;

type WriteSync = typeof fs.writeSync;

/** What the programs under test log into this process's standard error is held back, and printed for a test that fails. */
export class HeldOutput {
  private held: string[] = [];
  private bytes = 0;
  private readonly original: WriteSync = fs.writeSync;

  /** Loggers write by fs.writeSync, which every module of the process shares; jest's own output takes another way. */
  start(): void {
    const { original } = this;
    const hold = (text: string): void => this.add(text);
    fs.writeSync = ((...args: Parameters<WriteSync>) => {
      const [descriptor, data] = args as unknown as [number, string | Buffer];
      if (descriptor !== STANDARD_ERROR) return original(...args);
      const bytes = typeof data === 'string' ? Buffer.from(data) : data;
      hold(bytes.toString('utf8'));
      return bytes.length;
    }) as WriteSync;
  }

  stop(): void {
    fs.writeSync = this.original;
  }

  add(text: string): void {
    this.held.push(text);
    this.bytes += text.length;
    while (this.bytes > MAX_BYTES && this.held.length > 1) this.bytes -= this.held.shift()?.length ?? 0;
  }

  clear(): void {
    this.held = [];
    this.bytes = 0;
  }

  print(title: string): void {
    if (this.held.length > 0) this.original(STANDARD_ERROR, `\n● logged during: ${title}\n${this.held.join('')}\n`);
    this.clear();
  }
}
