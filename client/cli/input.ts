import { NotUtf8, readText, REPLACEMENT, streamText } from '../../runtime/text/utf8';
import { CliError, EXIT } from './exit';

export const STANDARD_INPUT = '-';

const AS_UTF8 = 'convert it first, for example with iconv -f ISO-8859-1 -t UTF-8';

/**
 * The text of a file that the command line names; of standard input where it names `-`.
 * @param what the file in words, for the message
 * @throws CliError that names the file, never its content
 */
export async function readInput(
  file: string,
  what: string,
  { hint, exitCode = EXIT.usage }: { hint?: string | undefined; exitCode?: number } = {},
): Promise<string> {
  const named = file === STANDARD_INPUT ? `${what} on standard input` : `${what} ${file}`;
  try {
    return await (file === STANDARD_INPUT ? streamText(process.stdin, named) : readText(file));
  } catch (error) {
    if (error instanceof NotUtf8) throw notUtf8(named, error);
    const { code, message } = error as NodeJS.ErrnoException;
    throw new CliError(exitCode, `can't read ${named}: ${code ?? message}`, { hint }, { cause: error });
  }
}

/** A refusal of text from outside that is no UTF-8. */
export function notUtf8(what: string, cause?: unknown): CliError {
  return new CliError(
    EXIT.usage,
    `expected ${what} to be UTF-8 text, got other bytes`,
    { code: 'text.not_utf8', hint: AS_UTF8 },
    { cause },
  );
}

/** Refuses text in which Node.js has replaced bytes that were no UTF-8: what differs would become the same. @throws CliError 2 */
export function requireUtf8(what: string, text: string): string {
  if (text.includes(REPLACEMENT) || !text.isWellFormed()) throw notUtf8(what);
  return text;
}
