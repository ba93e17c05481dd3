import { spawn } from 'node:child_process';
import type { ChildProcess, StdioOptions } from 'node:child_process';
import type { Duplex, Readable } from 'node:stream';
import { status } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';
import { readableText, readText, streamText } from '../../runtime/text/utf8';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';
import type { CommandStart } from './command';

/** Of our own tools: nothing that a command's variables say may reach them. */
const OWN_ENVIRONMENT = { PATH: '/usr/bin:/bin' };
/** Where a command's descriptors begin to be its own business. Below are input, output, errors, and the one by which its start is told. */
const START_FD = 3;

/** No command makes a user namespace of its own, and with it has the kernel's whole surface: the limit stays when the right to raise it is given up. */
const HOLD = [
  'echo 0 >/proc/sys/user/max_user_namespaces && echo held && exec setpriv',
  '--bounding-set -all --inh-caps -all --ambient-caps -all -- sleep infinity',
].join(' ');
/** Closes what this program has open and would pass on, such as other terminals, which node-pty opens without O_CLOEXEC. */
const CLOSE_OTHERS = `for f in /proc/$$/fd/*; do n=\${f##*/}; if ((n > ${START_FD})); then eval "exec $n>&-"; fi; done; exec "$@"`;
/** Says that it is there, waits until it has been looked at, and becomes the command. */
const ANNOUNCE = `echo >&${START_FD}; read -r _ <&${START_FD}; exec "$@" ${START_FD}>&-`;

interface EnteredCommand {
  /** It ends as the command does. */
  child: ChildProcess;
  /** The command's process group, as it is known here. */
  group: number;
}

/**
 * Namespaces inside those of the enclave, which all commands of an enclave share: of processes, so that they can't see, trace or read the enclave's program; of
 * mounts, where its folder is covered; of users, where they have no right over either. A process that does nothing keeps them; a command may end it, as it may
 * end every other one of its user's, and the next command gets new ones.
 */
export class CommandNamespaces {
  private holder: Promise<{ pid: number; process: ChildProcess }> | undefined;
  private closed = false;

  /** @param hidden the folder that commands don't see */
  constructor(
    private readonly hidden: string,
    private readonly log: Logger = silent,
  ) {}

  /** Makes them where they aren't there. @throws RpcError `exec.failed` */
  async open(): Promise<number> {
    if (this.closed) throw failed('the enclave is ending');
    this.holder ??= this.hold();
    return (await this.holder).pid;
  }

  close(): void {
    this.closed = true;
    this.holder?.then(({ process }) => process.kill('SIGKILL')).catch(() => undefined);
  }

  /**
   * Starts a command in them, as the leader of a session and process group of its own.
   * @param stdio its input, output and errors @param terminal whether its input is a terminal, which becomes its controlling one
   * @throws RpcError `exec.failed`
   */
  async start(
    { argv, file, directory, env }: CommandStart,
    { stdio, terminal }: { stdio: [StdioPart, StdioPart, StdioPart]; terminal: boolean },
  ): Promise<EnteredCommand> {
    const target = await this.open();
    const [name = file, ...args] = argv;
    const child = spawn(
      'bash',
      [
        ...['--norc', '--noprofile', '-c', CLOSE_OTHERS, 'bash'],
        ...['nsenter', '--target', String(target), '--user', '--mount', '--pid', '--ipc', '--preserve-credentials'],
        ...[`--wdns=${directory}`, '--', 'setsid', ...(terminal ? ['--ctty'] : []), 'sh', '-c', ANNOUNCE, 'sh'],
        ...['env', '-i', '--', ...Object.entries(env).map(([key, value]) => `${key}=${value}`)],
        // By its name, as the caller wrote it: it is found again along the same PATH.
        ...['/usr/bin/prlimit', '--core=0', '--', name, ...args],
      ],
      { env: OWN_ENVIRONMENT, cwd: '/', stdio: [...stdio, 'pipe'] as StdioOptions },
    );
    return { child, group: await announced(child) };
  }

  private hold(): Promise<{ pid: number; process: ChildProcess }> {
    const child = spawn(
      'bwrap',
      [
        ...['--unshare-user', '--unshare-pid', '--unshare-ipc', '--die-with-parent'],
        // The enclave's own /dev: its terminals are there.
        ...['--dev-bind', '/', '/', '--proc', '/proc', '--tmpfs', this.hidden, '--remount-ro', this.hidden],
        ...['--cap-add', 'CAP_SYS_RESOURCE', '--info-fd', '3', '--', 'sh', '-c', HOLD],
      ],
      { env: OWN_ENVIRONMENT, cwd: '/', stdio: ['ignore', 'pipe', 'pipe', 'pipe'] },
    );
    let errors = '';
    child.stderr?.on('data', (bytes: Buffer) => (errors = `${errors}${readableText(bytes)}`.slice(-500)));
    const held = new Promise<{ pid: number; process: ChildProcess }>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', () => reject(failed(`no namespaces for it: ${errors.trim()}`)));
      const info = streamText(child.stdio[3] as Readable, 'what bubblewrap says of itself');
      const ready = new Promise<void>((done) => child.stdout?.once('data', () => done()));
      Promise.all([info, ready]).then(
        ([text]) => resolve({ pid: (JSON.parse(text) as { 'child-pid': number })['child-pid'], process: child }),
        reject,
      );
    });
    const forget = (): void => {
      if (!this.closed) this.log.info({}, "the commands' namespaces ended");
      this.holder = undefined;
    };
    child.once('exit', forget);
    child.once('error', forget);
    return held;
  }
}

type StdioPart = 'pipe' | number;

/** @returns the process group of what the child started, once that waits to become the command */
async function announced(child: ChildProcess): Promise<number> {
  const start = child.stdio[START_FD] as Duplex;
  start.on('error', () => undefined);
  await new Promise<void>((resolve, reject) => {
    child.once('error', (cause) => reject(failed('its namespaces', cause)));
    start.once('close', () => reject(failed('its namespaces ended')));
    start.once('data', () => resolve());
  });
  const children = await readText(`/proc/${child.pid}/task/${child.pid}/children`);
  const group = Number(children.trim());
  if (!Number.isInteger(group) || group <= 1) throw failed('its process is not there');
  start.end('\n');
  return group;
}

function failed(why: string, cause?: unknown): RpcError {
  return new RpcError('exec.failed', status.FAILED_PRECONDITION, `can't start the command: ${why}`, { cause });
}
