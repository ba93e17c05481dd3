import { constants } from 'node:os';

/** Set by the first lines of sls (scripts/build.mjs): SigIgn of proc_pid_status(5), hexadecimal. Node gives every signal its default at its own start. */
const VARIABLE = 'SLS_IGNORED_SIGNALS';
/** What no program takes, and what Node has for itself. */
const NOT_TAKEN = new Set([
  'SIGKILL',
  'SIGSTOP',
  'SIGPIPE',
  'SIGXFSZ',
  'SIGCHLD',
  'SIGSEGV',
  'SIGBUS',
  'SIGFPE',
  'SIGILL',
]);

let ignored: ReadonlySet<string> = new Set();

/** What was ignored when this program was started, as SIGHUP is by nohup(1), stays ignored. Called before anything listens. */
export function keepIgnored(env: NodeJS.ProcessEnv = process.env): void {
  const mask = env[VARIABLE];
  // Of this program alone: what it starts has defaults of its own.
  delete env[VARIABLE];
  if (mask === undefined || !/^[0-9a-f]{1,32}$/.test(mask)) return;
  const bits = BigInt(`0x${mask}`);
  const names = Object.entries(constants.signals)
    .filter(([name, number]) => !NOT_TAKEN.has(name) && (bits >> BigInt(number - 1)) & 1n)
    .map(([name]) => name);
  ignored = new Set(names);
  for (const name of names) process.on(name as NodeJS.Signals, () => undefined);
}

/** Those of these signals that may be acted on. */
export function notIgnored<Signal extends string>(signals: readonly Signal[]): Signal[] {
  return signals.filter((signal) => !ignored.has(signal));
}
