import { basename } from 'node:path';
import { z } from 'zod';
import { ConfigError, readEnvironment } from '../config/environment';
import { systemClock } from '../clock';
import type { Clock } from '../clock';
import { createLogger, logSettings } from '../log/json';
import type { Logger } from '../log/log';
import { openExporter, tracesSettings } from '../traces/settings';
import type { Tracer } from '../traces/tracer';
import { watchParent } from './parent';

/** How long a service may take to stop once whoever started it is gone. */
const ORPHAN_GRACE_MS = 5_000;

/** What a program is given to run with: nothing of it is to be had elsewhere. */
export interface Program {
  log: Logger;
  tracer: Tracer;
  clock: Clock;
}

/** A program's two stages. `--check` runs the first one alone. */
interface Stages<Settings, Result> {
  /**
   * Reads the environment and every file that a setting names. Opens no port and no connection, and writes nothing.
   * @throws ConfigError that names the setting
   */
  load(program: Program): Promise<Settings>;
  run(settings: Settings, program: Program): Promise<Result>;
}

const programSettings = z.object({ ...logSettings.shape, ...tracesSettings.shape, SLS_PROGRAM: z.string().optional() });

/** The log and the traces that the environment asks for. @throws ConfigError */
function openProgram(): Program & { flush(): Promise<void> } {
  const settings = readEnvironment(programSettings);
  const name = settings.SLS_PROGRAM ?? programName();
  const log = createLogger({ program: name, level: settings.LOG_LEVEL });
  const exporter = openExporter(settings, name);
  return { log, tracer: { log, exporter }, clock: systemClock, flush: async () => exporter?.flush() };
}

const programName = (): string => basename(process.argv[1] ?? 'sls', '.cjs');

/** What went wrong is the last line of the log, and tells the exit code: 1 failed, 2 settings are wrong. */
class Failing {
  // Also of settings that are wrong somebody has to be told.
  log = createLogger({ program: programName(), level: 'info' });

  constructor() {
    process.on('unhandledRejection', this.fail);
    // Node's own lines and those of libraries: that nobody can read them ends nothing.
    for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
    // Without a listener this signal opens Node's debugger, and with it the program's memory, to any process of the same user.
    process.on('SIGUSR1', () => this.log.warn({ signal: 'SIGUSR1' }, 'ignored'));
  }

  readonly fail = (error: unknown): never => {
    this.log.fatal(
      error instanceof ConfigError ? { code: error.code, reason: error.message } : { err: error },
      'cannot go on',
    );
    process.exit(error instanceof ConfigError ? 2 : 1);
  };
}

/** Opens the program and loads its settings; with `--check` it ends there, with 0. @throws ConfigError */
async function begin<Settings>(
  { load }: Pick<Stages<Settings, unknown>, 'load'>,
  failing: Failing,
): Promise<{ settings: Settings; program: ReturnType<typeof openProgram> }> {
  const args = process.argv.slice(2);
  const check = args.length === 1 && args[0] === '--check';
  if (args.length > 0 && !check)
    throw new ConfigError(`expected no argument or --check, got ${JSON.stringify(args.join(' ').slice(0, 80))}`);
  const program = openProgram();
  failing.log = program.log;
  const settings = await load(program);
  if (check) {
    program.log.info({}, 'the settings are right');
    process.exit(0);
  }
  return { settings, program };
}

/** Does what a program does once, and ends it. Exit codes: 0 done, 1 failed, 2 settings are wrong. */
export function runTask<Settings>(stages: Stages<Settings, void>): void {
  const failing = new Failing();
  const whole = async (): Promise<void> => {
    const { settings, program } = await begin(stages, failing);
    await stages.run(settings, program);
    await program.flush();
  };
  whole().catch(failing.fail);
}

/**
 * Runs a service until SIGTERM, SIGINT or the end of its parent (`watchParent`), then stops it.
 * Exit codes: 0 stopped, 1 failed, 2 settings are wrong. `run` returns what stops the service.
 */
export function runProgram<Settings>(stages: Stages<Settings, () => Promise<void>>): void {
  const failing = new Failing();
  // Until it serves, there is nothing to stop in order.
  let orphaned = (): void => process.exit(1);
  watchParent(() => orphaned());
  const start = async (): Promise<() => Promise<void>> => {
    const { settings, program } = await begin(stages, failing);
    const stop = await stages.run(settings, program);
    return async () => {
      await stop();
      await program.flush();
    };
  };
  start().then((stop) => {
    let stopping = false;
    const end = (signal: string): void => {
      if (stopping) return;
      stopping = true;
      failing.log.debug({ signal }, 'stopping');
      stop().then(() => process.exit(0), failing.fail);
    };
    process.on('SIGTERM', end);
    process.on('SIGINT', end);
    orphaned = () => {
      setTimeout(() => process.exit(1), ORPHAN_GRACE_MS).unref();
      end('parent');
    };
  }, failing.fail);
}
