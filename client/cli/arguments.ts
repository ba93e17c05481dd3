import { readFileSync } from 'node:fs';
import { decodeUtf8, REPLACEMENT } from '../../runtime/text/utf8';
import { notUtf8 } from './input';

/** What is read of the environment as a path, a name or an address. Other variables are nobody's business here. */
const VARIABLES = ['HOME', 'XDG_CONFIG_HOME', 'XDG_STATE_HOME', 'TMPDIR', 'TERM'];

/**
 * Refuses arguments, and variables that are read here, which are no UTF-8. Node.js has decoded them, and has put U+FFFD for each byte that isn't: `cp` would
 * write another file than the one that was named, and two usernames would be one.
 * @param argv without the program's own name
 * @throws CliError 2 that says which one it is
 */
export function requireArguments(argv: readonly string[]): void {
  if (argv.some((text) => text.includes(REPLACEMENT))) {
    const raw = rawArguments(argv.length);
    argv.forEach((text, at) => {
      const bytes = raw?.[at];
      // One who means U+FFFD itself, to search for it perhaps, has written it in UTF-8.
      if (text.includes(REPLACEMENT) && !(bytes && isUtf8(bytes))) throw notUtf8(`argument ${at + 1}`);
    });
  }
  for (const [name, value] of Object.entries(process.env))
    if ((name.startsWith('SLS_') || VARIABLES.includes(name)) && value?.includes(REPLACEMENT))
      throw notUtf8(`$${name}`);
}

/** As the system was given them; undefined where it doesn't say, as anywhere but on Linux. */
function rawArguments(count: number): Buffer[] | undefined {
  let line: Buffer;
  try {
    line = readFileSync('/proc/self/cmdline');
  } catch {
    return undefined;
  }
  const all: Buffer[] = [];
  for (let rest = line; rest.length > 0;) {
    const end = rest.indexOf(0);
    all.push(end === -1 ? rest : rest.subarray(0, end));
    rest = end === -1 ? Buffer.alloc(0) : rest.subarray(end + 1);
  }
  return all.slice(-count);
}

function isUtf8(bytes: Buffer): boolean {
  try {
    decodeUtf8(bytes, 'an argument');
    return true;
  } catch {
    return false;
  }
}
