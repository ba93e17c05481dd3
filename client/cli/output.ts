import { writeOutput } from './standard-output';

/** How a command talks: `--json`, `--quiet`, NO_COLOR (no-color.org), and whether a person watches. */
export interface OutputOptions {
  json?: boolean;
  quiet?: boolean;
}

const COLORS = { bold: '1', dim: '2', red: '31', green: '32', yellow: '33' } as const;

function colored(color: keyof typeof COLORS, text: string): string {
  const wanted = process.stderr.isTTY && !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb';
  return wanted ? `\u001b[${COLORS[color]}m${text}\u001b[0m` : text;
}

/** C0 and C1 controls, and what turns a text's direction around or hides in it (Unicode, UAX 9 and Default_Ignorable_Code_Point). */
const STEERING = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/** Strips what could steer the terminal from texts that came over the network, and what could pass for a line of ours: one text is one line. */
export function printable(text: string): string {
  return text.replace(/\s*[\r\n]\s*/g, ' ').replace(STEERING, '?');
}

/** Escapes in JSON what JSON.stringify leaves as it is and a terminal may take for a control. */
function printableJson(value: unknown): string {
  const text = JSON.stringify(value, null, 2);
  return text.replace(STEERING, (character) =>
    character === '\n' ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** A line of ours is open on the terminal: there is one terminal, whoever talks. */
let waiting = false;

/** Results go to standard output; all talk goes to standard error, so that a pipe carries results alone. */
export class Output {
  constructor(private readonly options: OutputOptions = {}) {}

  get quiet(): boolean {
    return this.options.quiet === true;
  }

  /** The command's result: a JSON document with --json, lines otherwise. */
  result(json: unknown, lines: string[]): void {
    if (this.options.json) writeOutput(`${printableJson(json)}\n`);
    else if (lines.length > 0) writeOutput(lines.map((line) => `${printable(line)}\n`).join(''));
  }

  /** What is going on now. On a terminal the line stays open until it is known how it ended. */
  progress(text: string): void {
    if (this.quiet) return;
    this.finish();
    process.stderr.write(`sls: ${printable(text)}`);
    if (process.stderr.isTTY) {
      process.stderr.write(colored('dim', ' ...'));
      waiting = true;
    } else process.stderr.write('\n');
  }

  /** Something that was proved or done. */
  done(text: string): void {
    if (this.quiet) return;
    this.finish();
    process.stderr.write(`sls: ${colored('green', 'ok')} ${printable(text)}\n`);
  }

  /** A line that counts over itself, for transfers. Terminals only. */
  counter(text: string): void {
    if (this.quiet || !process.stderr.isTTY) return;
    process.stderr.write(`\r\u001b[Ksls: ${printable(text)}`);
    waiting = true;
  }

  note(text: string): void {
    if (this.quiet) return;
    this.finish();
    process.stderr.write(`sls: ${printable(text)}\n`);
  }

  /** Said even with --quiet: the person must know. */
  warning(text: string): void {
    this.finish();
    process.stderr.write(`sls: ${colored('yellow', 'warning')}: ${printable(text)}\n`);
  }

  failure(message: string, details: { hint?: string; code?: string; step?: string }, exitCode: number): void {
    this.finish();
    if (this.options.json) writeOutput(`${printableJson({ error: { message, ...details, exitCode } })}\n`);
    process.stderr.write(`${colored('red', 'sls')}: ${printable(message)}\n`);
    if (details.hint !== undefined) process.stderr.write(`${colored('bold', 'hint')}: ${printable(details.hint)}\n`);
  }

  /** Takes an open progress line back: what comes next is what was asked for. */
  erase(): void {
    if (waiting) process.stderr.write('\r\u001b[K');
    waiting = false;
  }

  /** Ends an open progress line, before anything else writes to the terminal. */
  finish(): void {
    if (!waiting) return;
    waiting = false;
    process.stderr.write('\n');
  }
}
