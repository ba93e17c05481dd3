import { spawnSync } from 'node:child_process';
import { isatty } from 'node:tty';
import { notIgnored } from './ignored-signals';

/** Passed on to the command. SIGINT comes as a byte where the terminal is in raw mode. */
const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const;

/** Whoever presses Ctrl-C this often wants out, whatever the command makes of it. */
const IMPATIENT = 3;

/** For a command to end by itself once the terminal is closed from which it was started. */
const HANGUP_PATIENCE_MS = 2_000;

const NUMBERS: Record<(typeof FORWARDED)[number], number> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGUSR1: 10,
  SIGUSR2: 12,
  SIGTERM: 15,
};

interface SignalForwarding {
  /** From now on signals go to the command; before, they end this program. */
  deliverTo(deliver: (signal: string) => void): void;
  stop(): void;
}

/**
 * Takes the signals that a person or a program sends to `sls exec`.
 * @param abort ends this program with an exit code
 * @param terminal whose end is this program's, whatever the command makes of SIGHUP
 */
export function forwardSignals(
  abort: (exitCode: number) => void,
  terminal: Pick<LocalTerminal, 'isGone'>,
): SignalForwarding {
  let deliver: ((signal: string) => void) | undefined;
  let interrupts = 0;
  const listener = (signal: NodeJS.Signals): void => {
    const exitCode = 128 + NUMBERS[signal as (typeof FORWARDED)[number]];
    if (signal === 'SIGINT' && ++interrupts >= IMPATIENT) return abort(exitCode);
    if (!deliver) return abort(exitCode);
    deliver(signal);
    if (signal === 'SIGHUP' && terminal.isGone()) setTimeout(() => abort(exitCode), HANGUP_PATIENCE_MS).unref();
  };
  const signals = notIgnored(FORWARDED);
  for (const signal of signals) process.on(signal, listener);
  return {
    deliverTo: (to) => (deliver = to),
    stop: () => {
      for (const signal of signals) process.off(signal, listener);
    },
  };
}

/** This side's terminal: raw while the command runs, its size passed on. */
export class LocalTerminal {
  readonly wanted: boolean;
  private resized: (() => void) | undefined;

  /** Whether what is typed here goes to the command. */
  private readonly input: boolean;
  private readonly open = [0, 1, 2].filter((fd) => isatty(fd));

  /** @param options.wanted true and false as told; undefined: when standard input and output are terminals @param options.input false: standard input isn't read */
  constructor({ wanted, input }: { wanted: boolean | undefined; input: boolean }) {
    this.input = input && isatty(0);
    this.wanted = wanted ?? (this.input && isatty(1));
  }

  /** The size to begin with, 0 by 0 where there is no terminal here that would have one; undefined when the command gets no terminal. */
  size(): { columns: number; rows: number } | undefined {
    if (!this.wanted) return undefined;
    const { columns = 0, rows = 0 } = [process.stdout, process.stderr].find(({ isTTY }) => isTTY) ?? {};
    return { columns, rows };
  }

  /** It was closed: one that has hung up is none any more. */
  isGone(): boolean {
    return this.open.some((fd) => !isatty(fd));
  }

  attach(resize: (size: { columns: number; rows: number }) => void): void {
    if (!this.wanted) return;
    if (this.input) {
      process.stdin.setRawMode(true);
      // Node's raw mode still makes CR LF of every LF (libuv, uv_tty_set_mode). The far terminal has done that already, or was told not to
      // by a full-screen program, which would be garbled. setRawMode(false) restores this too.
      spawnSync('stty', ['-opost'], { stdio: ['inherit', 'ignore', 'ignore'] });
    }
    this.resized = () => {
      const size = this.size();
      if (size) resize(size);
    };
    process.stdout.on('resize', this.resized);
  }

  restore(): void {
    if (this.resized) process.stdout.off('resize', this.resized);
    this.resized = undefined;
    if (this.input && process.stdin.isRaw) process.stdin.setRawMode(false);
  }
}
