import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { distFolder } from '../core/config/dist';
import { logger } from '../core/log/logger';
import { describeExit, startChild } from './child';
import type { Child } from './child';
import { replaceFile } from './files';
import { endLeftovers, WORKLOAD_VARIABLE } from './leftovers';

/** A credential opens one stream and lives 5 minutes; a fresh one lies ready for an enclave that has to reconnect. */
const CREDENTIAL_INTERVAL_MS = 10_000;

export interface RunningEnclave {
  workloadUid: string;
  endpoint: string;
  tlsAddress: string;
}

export interface EnclavesOptions {
  /** Marks the processes of this installation. */
  mark: string;
  /** Holds a folder for each enclave while it runs. */
  runFolder: string;
  /** Holds a folder for each user, which stays. */
  workspaceFolder: string;
  logFile: string;
  attestorAddress: string;
  clientCaFile: string;
  trustDomain: string;
  logLevel: string;
  /** An enclave without connections ends after this; 0: never. */
  idleSeconds: number;
  issueCredential(workload: { user: string; workloadUid: string; imageDigest: string }): Promise<string>;
  report(line: string): void;
}

interface Entry extends RunningEnclave {
  user: string;
  imageDigest: string;
  folder: string;
  child: Child;
}

/** The users' enclaves, one process each. */
export class Enclaves {
  private readonly live = new Map<string, Entry>();
  private readonly starting = new Map<string, Promise<Entry>>();
  private readonly ending = new AbortController();
  private readonly timer: NodeJS.Timeout;

  constructor(private readonly options: EnclavesOptions) {
    this.timer = setInterval(() => void this.refreshCredentials(), CREDENTIAL_INTERVAL_MS);
    this.timer.unref();
  }

  /** Starts the user's enclave unless it runs; calls at the same time share one start. */
  async ensure(user: string): Promise<RunningEnclave & { started: boolean }> {
    this.ending.signal.throwIfAborted();
    const running = this.live.get(user);
    if (running) return { ...running, started: false };
    let start = this.starting.get(user);
    if (!start) {
      start = this.start(user).finally(() => this.starting.delete(user));
      this.starting.set(user, start);
    }
    return { ...(await start), started: true };
  }

  /** Ends the user's enclave when it is still the given one; with no UID whichever it is, one that is starting included. */
  async stop(user: string, workloadUid: string): Promise<void> {
    if (workloadUid === '') await this.starting.get(user)?.catch(() => undefined);
    const entry = this.live.get(user);
    if (!entry || (workloadUid !== '' && entry.workloadUid !== workloadUid)) return;
    this.live.delete(user);
    await entry.child.stop();
  }

  /** Gives every live enclave a credential that was not used yet. */
  async refreshCredentials(): Promise<void> {
    const writes = await Promise.allSettled([...this.live.values()].map((entry) => this.writeCredential(entry)));
    for (const write of writes) if (write.status === 'rejected') logger.error({ err: write.reason as unknown }, 'no credential written');
  }

  /** Ends all of them for good. */
  async stopAll(): Promise<void> {
    clearInterval(this.timer);
    this.ending.abort(new Error('the installation is stopping'));
    await Promise.allSettled(this.starting.values());
    await Promise.all([...this.live].map(([user, { workloadUid }]) => this.stop(user, workloadUid)));
    await endLeftovers(`${this.options.mark}/`);
  }

  private async start(user: string): Promise<Entry> {
    const { options } = this;
    const workloadUid = randomUUID();
    const folder = join(options.runFolder, workloadUid);
    const workspace = join(options.workspaceFolder, user);
    for (const path of [folder, workspace]) await mkdir(path, { recursive: true, mode: 0o700 });
    const identity = { user, workloadUid, folder, imageDigest: await imageDigest() };
    await this.writeCredential(identity);
    const child = await startChild({
      program: 'enclave',
      readyFile: join(folder, 'ready'),
      logFile: options.logFile,
      signal: this.ending.signal,
      settings: {
        LOG_LEVEL: options.logLevel,
        LISTEN: 'http://127.0.0.1:0',
        TLS_LISTEN: '127.0.0.1:0',
        ATTESTOR_ADDRESS: options.attestorAddress,
        ATTESTOR_CREDENTIAL_FILE: credentialFile(folder),
        CLIENT_CA_FILE: options.clientCaFile,
        ENCLAVE_USER: user,
        TRUST_DOMAIN: options.trustDomain,
        WORKSPACE_DIR: workspace,
        IDLE_SECONDS: String(options.idleSeconds),
        [WORKLOAD_VARIABLE]: `${options.mark}/${workloadUid}`,
        HOME: workspace,
      },
    }).catch(async (error: unknown) => {
      await rm(folder, { recursive: true, force: true });
      throw error;
    });
    const { listen = 0, tls = 0 } = child.ports;
    const entry = { ...identity, child, endpoint: `http://127.0.0.1:${listen}`, tlsAddress: `127.0.0.1:${tls}` };
    this.live.set(user, entry);
    void child.exited.then(async (exit) => {
      const expected = this.live.get(user) !== entry || exit.code === 0;
      if (this.live.get(user) === entry) this.live.delete(user);
      await endLeftovers(`${options.mark}/${workloadUid}`);
      if (!expected) options.report(`the enclave of user ${user} ended unexpectedly (${describeExit(exit)})`);
      await rm(folder, { recursive: true, force: true });
    });
    return entry;
  }

  private async writeCredential(entry: { user: string; workloadUid: string; imageDigest: string; folder: string }): Promise<void> {
    const { user, workloadUid, imageDigest } = entry;
    await replaceFile(credentialFile(entry.folder), await this.options.issueCredential({ user, workloadUid, imageDigest }));
  }
}

function credentialFile(folder: string): string {
  return join(folder, 'credential');
}

/** What stands in for an image's digest on one machine: the hash of the enclave's program. */
async function imageDigest(): Promise<string> {
  return `sha256:${createHash('sha256').update(await readFile(join(distFolder(), 'enclave.cjs'))).digest('hex')}`;
}
