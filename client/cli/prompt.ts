import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { CliError, EXIT } from './exit';

/** More than any password that is accepted. */
const LONGEST_PASSWORD = 4096;

/** Asks on the terminal for what is no secret. */
export async function askUsername(given: string | undefined): Promise<string> {
  if (given !== undefined) return given;
  if (!process.stdin.isTTY) throw new CliError(EXIT.usage, 'no username', { hint: 'name it with --username NAME' });
  const username = (await ask('Username: ', process.stderr)).trim();
  if (username === '') throw new CliError(EXIT.usage, 'no username');
  return username;
}

/** Reads a password from standard input (its first line) or from the terminal without echo. Never from argv or the environment. */
export async function askPassword(options: { fromStdin: boolean; twice?: boolean }): Promise<string> {
  if (options.fromStdin) return (await lines(1))[0] as string;
  if (!process.stdin.isTTY) {
    throw new CliError(EXIT.usage, 'no terminal to ask for the password', { hint: 'pass it on standard input with --password-stdin' });
  }
  const password = await askSilently('Password: ');
  if (options.twice && (await askSilently('Again: ')) !== password) throw new CliError(EXIT.usage, 'the passwords differ');
  if (password === '') throw new CliError(EXIT.usage, 'no password');
  return password;
}

/** As `askPassword`, for a change: the old one, and the new one twice. */
export async function askPasswordChange(options: { fromStdin: boolean }): Promise<{ oldPassword: string; newPassword: string }> {
  if (options.fromStdin) {
    const [oldPassword = '', newPassword = ''] = await lines(2);
    return { oldPassword, newPassword };
  }
  if (!process.stdin.isTTY) {
    throw new CliError(EXIT.usage, 'no terminal to ask for the passwords', { hint: 'pass both on standard input, a line each, with --password-stdin' });
  }
  const oldPassword = await askSilently('Old password: ');
  const newPassword = await askSilently('New password: ');
  if ((await askSilently('Again: ')) !== newPassword) throw new CliError(EXIT.usage, 'the passwords differ');
  if (newPassword === '') throw new CliError(EXIT.usage, 'no password');
  return { oldPassword, newPassword };
}

/** Asks on the terminal for a typed yes. Without a terminal there is nobody to ask. */
export async function confirm(question: string): Promise<boolean> {
  if (!process.stdin.isTTY) throw new CliError(EXIT.usage, 'no terminal to confirm the fingerprint on', { hint: 'name it with --fingerprint FINGERPRINT' });
  return (await ask(question, process.stderr)).trim().toLowerCase() === 'yes';
}

async function ask(question: string, output: NodeJS.WritableStream): Promise<string> {
  const lines = createInterface({ input: process.stdin, output, terminal: true });
  const interrupted = new AbortController();
  lines.on('SIGINT', () => interrupted.abort());
  lines.on('close', () => interrupted.abort());
  try {
    return await lines.question(question, { signal: interrupted.signal });
  } catch {
    process.stderr.write('\n');
    process.exit(130);
  } finally {
    lines.removeAllListeners('close');
    lines.close();
  }
}

/** Asks on the terminal, without echo. */
export async function askSilently(question: string): Promise<string> {
  process.stderr.write(question);
  // readline edits the line and echoes it here.
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const answer = await ask('', nowhere);
  process.stderr.write('\n');
  return answer;
}

/** The first lines of standard input; none of them empty. */
async function lines(count: number): Promise<string[]> {
  let text = Buffer.alloc(0);
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    text = Buffer.concat([text, chunk]);
    if (text.toString('latin1').split('\n').length > count || text.length > LONGEST_PASSWORD * count) break;
  }
  const found = text.toString('utf8').split('\n').slice(0, count).map((line) => line.replace(/\r$/, ''));
  if (found.length < count || found.includes('')) {
    throw new CliError(EXIT.usage, `expected ${count === 1 ? 'the password' : `${count} passwords, a line each,`} on standard input, got ${found[0] === '' ? 'nothing' : 'fewer'}`);
  }
  if (found.some((line) => line.length > LONGEST_PASSWORD)) throw new CliError(EXIT.usage, `expected a password of ${LONGEST_PASSWORD} characters at most`);
  return found;
}
