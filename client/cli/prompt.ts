import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { CliError, EXIT } from './exit';
import { requireUtf8 } from './input';
import { MAX_LINE_LENGTH, nextLine } from './stdin-lines';

/** More than any password that is accepted. */
const MAX_PASSWORD_LENGTH = MAX_LINE_LENGTH;

/** As the services take it, before they normalize it. */
const LONGEST_USERNAME = 256;

const CODE_HINT = 'with --password-stdin, put the code on the line after the password';

/** Asks on the terminal for what is no secret. */
export async function askUsername(given: string | undefined): Promise<string> {
  if (given !== undefined) return checkLength(given);
  if (!process.stdin.isTTY) throw new CliError(EXIT.usage, 'no username', { hint: 'pass --username NAME' });
  const username = (await ask('Username: ')).trim();
  if (username === '') throw new CliError(EXIT.usage, 'no username');
  return checkLength(username);
}

/** Before it is sent: what is this long is nobody's name, but perhaps a file that was named by mistake. */
function checkLength(username: string): string {
  const { length } = [...username];
  if (length <= LONGEST_USERNAME) return username;
  throw new CliError(EXIT.usage, `expected a username of at most ${LONGEST_USERNAME} characters, got ${length}`);
}

/** Reads a password from standard input (its first line) or from the terminal without echo. Never from argv or the environment. */
export async function askPassword(options: { fromStdin: boolean; twice?: boolean }): Promise<string> {
  if (options.fromStdin) return (await lines(1))[0] as string;
  if (!process.stdin.isTTY) {
    throw new CliError(EXIT.usage, 'no terminal on which to ask for the password', {
      hint: 'pass it on standard input with --password-stdin',
    });
  }
  const password = await askSilently('Password: ');
  if (options.twice && (await askSilently('Again: ')) !== password)
    throw new CliError(EXIT.usage, 'the passwords differ');
  if (password === '') throw new CliError(EXIT.usage, 'no password');
  return password;
}

/** As `askPassword`, for a change: the old one, and the new one twice. */
export async function askPasswordChange(options: {
  fromStdin: boolean;
}): Promise<{ oldPassword: string; newPassword: string }> {
  if (options.fromStdin) {
    const [oldPassword = '', newPassword = ''] = await lines(2);
    return { oldPassword, newPassword };
  }
  if (!process.stdin.isTTY) {
    throw new CliError(EXIT.usage, 'no terminal on which to ask for the passwords', {
      hint: 'pass both on standard input, one per line, with --password-stdin',
    });
  }
  const oldPassword = await askSilently('Old password: ');
  const newPassword = await askSilently('New password: ');
  if ((await askSilently('Again: ')) !== newPassword) throw new CliError(EXIT.usage, 'the passwords differ');
  if (newPassword === '') throw new CliError(EXIT.usage, 'no password');
  return { oldPassword, newPassword };
}

/**
 * Asks for a code of the authenticator, or a recovery code: on the terminal, or the next line of standard input where the password came from there.
 * Not hidden: it is worth nothing afterwards.
 */
export async function askCode({ fromStdin }: { fromStdin: boolean }): Promise<string> {
  if (!fromStdin && !process.stdin.isTTY)
    throw new CliError(EXIT.usage, 'no terminal on which to ask for the code', { hint: CODE_HINT });
  const code = (
    fromStdin ? ((await nextLine()) ?? '') : await ask('Code from your authenticator, or a recovery code: ')
  ).trim();
  if (code === '')
    throw new CliError(EXIT.authentication, 'no code from your authenticator', {
      code: 'login.second_factor_required',
      hint: CODE_HINT,
    });
  return code;
}

/** Asks on the terminal to type a word, for what can't be undone. @throws CliError 2 without a terminal: there is nobody to ask */
export async function confirmTyped(question: string, word: string): Promise<boolean> {
  if (!process.stdin.isTTY) throw new CliError(EXIT.usage, 'no terminal to confirm on', { hint: 'confirm with --yes' });
  return (await ask(question)).trim() === word;
}

/** Asks on the terminal for yes or no, which is what it means where there is no terminal, too. */
export async function askYes(question: string): Promise<boolean> {
  return process.stdin.isTTY && /^y(es)?$/i.test((await ask(`${question} [y/N] `)).trim());
}

/** Asks on the terminal for a typed yes. Without a terminal there is nobody to ask. */
export async function confirm(question: string): Promise<boolean> {
  if (!process.stdin.isTTY)
    throw new CliError(EXIT.usage, 'no terminal to confirm the fingerprint on', {
      hint: 'pass it with --fingerprint FINGERPRINT',
    });
  return (await ask(question)).trim().toLowerCase() === 'yes';
}

async function ask(question: string, { echo = true } = {}): Promise<string> {
  // readline edits the line, and shows it here.
  const output = echo ? process.stderr : new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output, terminal: true });
  const interrupted = new AbortController();
  let answer: string;
  const interrupt = (): void => interrupted.abort();
  lines.on('SIGINT', interrupt);
  lines.on('close', interrupt);
  try {
    // Not before: the terminal itself has stopped to echo by now, so an answer that comes at once is not shown either.
    if (!echo) process.stderr.write(question);
    answer = await lines.question(echo ? question : '', { signal: interrupted.signal });
  } catch {
    process.stderr.write('\n');
    process.exit(130);
  } finally {
    // This one listener: by its own, readline stops to show what is typed, which may be the password that is asked for next.
    lines.off('close', interrupt);
    lines.close();
  }
  // readline has decoded it.
  return requireUtf8('what was typed', answer);
}

/** Asks on the terminal, without echo. */
export async function askSilently(question: string): Promise<string> {
  const answer = await ask(question, { echo: false });
  process.stderr.write('\n');
  return answer;
}

/** The next lines of standard input; none of them empty. */
async function lines(count: number): Promise<string[]> {
  const found: string[] = [];
  for (let line; found.length < count && (line = await nextLine()) !== undefined;) found.push(line);
  if (found.length < count || found.includes('')) {
    throw new CliError(
      EXIT.usage,
      `expected ${count === 1 ? 'the password' : `${count} passwords, a line each,`} on standard input, got ${(found[0] ?? '') === '' ? 'nothing' : 'fewer'}`,
    );
  }
  if (found.some((line) => line.length > MAX_PASSWORD_LENGTH))
    throw new CliError(EXIT.usage, `expected a password of ${MAX_PASSWORD_LENGTH} characters at most`);
  return found;
}
