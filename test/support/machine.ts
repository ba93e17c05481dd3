import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { built } from './built';
import type { Programs } from './release-before';
import { copyEmbeddedDatabase } from './embedded-postgres';
import { copySwtpmState } from './software-tpm';
import type { JWK } from 'jose';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { signTrustBundle } from '../../attestation/trust/signed-bundle';

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  stdin?: string | Buffer;
  env?: Record<string, string | undefined>;
  /** Whose process it is; root's tests alone can say. */
  uid?: number;
  /** Told once the process runs. */
  onStart?: (child: ChildProcess) => void;
  /** Told at each piece of output. */
  onOutput?: (child: ChildProcess, stdout: string) => void;
}

/** RFC 7638, as `sls trust show` prints it. */
function thumbprint({ crv, kty, x, y }: TrustBundle['trustKey']): string {
  const hash = createHash('sha256').update(JSON.stringify({ crv, kty, x, y }));
  return `SHA256:${hash.digest('base64url')}`;
}

/** A person's machine: folders of its own, the built `sls`, and what was started there. */
export class Machine {
  readonly folder = mkdtempSync(join(tmpdir(), 'sls-test-'));
  readonly env: Record<string, string> = {
    PATH: process.env['PATH'] ?? '/usr/bin:/bin',
    HOME: this.folder,
    XDG_STATE_HOME: join(this.folder, 'state'),
    XDG_CONFIG_HOME: join(this.folder, 'config'),
  };
  private up: ChildProcess | undefined;
  /** Of another release where its programs are run from now on: see release-before.ts. */
  programs: Programs | undefined;

  private program(name: string): string {
    return this.programs === undefined ? built(name) : join(this.programs.dist, `${name}.cjs`);
  }

  path(...names: string[]): string {
    return join(this.folder, ...names);
  }

  /** A path inside the installation of `sls up`. */
  server(...names: string[]): string {
    return this.path('state', 'sls', 'server', ...names);
  }

  /** The environment of another machine that uses this one's service: its state is in a folder of that name. */
  elsewhere(name: string): Record<string, string> {
    const { trustKey } = this.trustBundle();
    return {
      XDG_STATE_HOME: this.path(name),
      SLS_TRUST: this.server('trust-bundle.jws'),
      SLS_TRUST_FINGERPRINT: thumbprint(trustKey),
    };
  }

  /** What the installation of `sls up` says of itself now, in the form that is for reading. */
  trustBundle(): TrustBundle {
    return JSON.parse(readFileSync(this.server('trust-bundle.json'), 'utf8')) as TrustBundle;
  }

  /**
   * A bundle as the operator of this machine's service could sign it: the present one, with a change, and the next sequence unless that says otherwise.
   * @returns options that name it, for who has not seen it yet
   */
  async signBundle(file: string, change: Partial<TrustBundle> = {}): Promise<string[]> {
    const bundle = this.trustBundle();
    const key = JSON.parse(readFileSync(this.server('keys', 'trust-key.json'), 'utf8')) as JWK;
    const changed = { ...bundle, sequence: bundle.sequence + 1, ...change };
    writeFileSync(this.path(file), await signTrustBundle(changed, key));
    return ['--trust', this.path(file), '--trust-fingerprint', thumbprint(bundle.trustKey)];
  }

  /** Runs sls to its end. */
  async sls(args: string[], { stdin = '', env = {}, uid, onStart, onOutput }: RunOptions = {}): Promise<Ended> {
    const child = spawn(process.execPath, [this.program('sls'), ...args], {
      cwd: this.folder,
      env: { ...this.env, ...env },
      ...(uid !== undefined && { uid, gid: uid }),
    });
    onStart?.(child);
    child.stdin.on('error', () => undefined);
    child.stdin.end(stdin);
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      onOutput?.(child, stdout);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((done) =>
      child.on('close', (c, s) => done([c, s])),
    );
    return { code, signal, stdout, stderr };
  }

  /**
   * Starts `sls up`, which ends with this process, and waits until it is ready.
   * @param options.under a command that it is run by @param options.fromNothing with TPM and database of its own making
   * @returns its process
   */
  async startService(
    args: string[] = [],
    env: Record<string, string> = {},
    { under = [], fromNothing = false }: { under?: readonly string[]; fromNothing?: boolean } = {},
  ): Promise<ChildProcess> {
    if (!fromNothing && !existsSync(this.server())) await this.prepareInstallation();
    const [program = '', ...rest] = [...under, process.execPath, this.program('sls'), 'up', '--json', ...args];
    const child = spawn(program, rest, {
      cwd: this.folder,
      // No flow is about how long a password takes: the demo, and the benchmarks, hash them at the usual cost.
      env: { ...this.env, PARENT_PIPE: '0', BCRYPT_COST: '4', ...env },
    });
    this.up = child;
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
    await new Promise<void>((ready, failed) => {
      let stdout = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        stdout += text;
        if (stdout.includes('"ready": true')) ready();
      });
      child.once('exit', (code, signal) => failed(new Error(`sls up ended (${code ?? signal}): ${said}`)));
    });
    return child;
  }

  /** A new installation whose TPM and empty database are there: the demo's test makes one from nothing. */
  private async prepareInstallation(): Promise<void> {
    await copySwtpmState(this.server('tpm'), { caFolder: this.server('tpm-ca') });
    await copyEmbeddedDatabase(this.server('database'));
    const record = { id: randomUUID(), node: 'localhost', trustDomain: 'sls.local', ports: {} };
    writeFileSync(this.server('installation.json'), JSON.stringify(record), { mode: 0o600 });
  }

  /** Ends `sls up` as Ctrl-C would. @returns its exit code and what it said at the end */
  async stopService(signal: NodeJS.Signals = 'SIGINT'): Promise<{ code: number | null; stderr: string }> {
    const child = this.up;
    this.up = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return { code: null, stderr: '' };
    let stderr = '';
    child.stderr?.on('data', (text: string) => (stderr += text));
    const ended = new Promise<number | null>((done) => child.once('close', (code) => done(code)));
    child.kill(signal);
    return { code: await ended, stderr };
  }

  /** Every process that this machine's folder is an argument or a setting of: its programs, its TPM, its commands. */
  processes(): Array<{ pid: number; command: string }> {
    const found: Array<{ pid: number; command: string }> = [];
    for (const name of readdirSync('/proc')) {
      if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
      try {
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
        const environment = readFileSync(`/proc/${name}/environ`, 'utf8');
        if (command !== '' && (command.includes(this.folder) || environment.includes(this.folder)))
          found.push({ pid: Number(name), command });
      } catch {
        // It ended meanwhile.
      }
    }
    return found;
  }

  /** The process of one of the programs, such as 'attestor-daemon.cjs' or 'swtpm socket'. */
  pidOf(text: string): number {
    const found = this.processes().filter(({ command }) => command.includes(text));
    if (found.length !== 1 || !found[0]) throw new Error(`expected one process ${text}, got ${JSON.stringify(found)}`);
    return found[0].pid;
  }

  /** Makes the attestor enrol again, as before its certificate's end: the old one is gone, and it is started anew. */
  renewAttestationKey(): void {
    rmSync(this.server('attestor', 'ak-certificates.pem'));
    process.kill(this.pidOf('attestor-daemon.cjs'), 'SIGTERM');
  }

  /** Waits until no process of this machine's is left. @returns those which still are after `ms` */
  async leftOver(ms = 120_000): Promise<Array<{ pid: number; command: string }>> {
    const deadline = Date.now() + ms;
    while (this.processes().length > 0 && Date.now() < deadline) await sleep(50);
    return this.processes();
  }

  async signUpAndLogin(username = 'ada', loginArgs: string[] = []): Promise<void> {
    for (const args of [
      ['signup', '--username', username, '--password-stdin'],
      ['login', ...loginArgs],
    ]) {
      const ended = await this.sls(args, { stdin: `${PASSWORD}\n` });
      if (ended.code !== 0) throw new Error(`sls ${args[0]} ended with ${ended.code}: ${ended.stderr}`);
    }
  }

  async remove(): Promise<void> {
    await this.stopService();
    for (const { pid } of await this.leftOver(3_000)) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended meanwhile.
      }
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export const PASSWORD = 'correct horse battery staple';
