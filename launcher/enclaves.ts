import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256Hex } from '../attestation/crypto';
import { HOST } from './services';
import { openListener } from './listener';
import type { Enclosure, Isolation } from './isolation/isolation';
import { distFolder } from '../runtime/config/dist';
import { describeExit, startChild } from './child';
import type { Child } from './child';
import { replaceFile } from '../runtime/files/whole-file';
import { endLeftovers, WORKLOAD_VARIABLE } from './leftovers';
import { removeWorkspaces, workspaceOf } from './workspaces';
import { enclaveKey } from '../attestation/evidence/enclave-name';
import type { EnclaveId } from '../attestation/evidence/enclave-name';
import { every, systemClock } from '../runtime/clock';
import type { Clock, Timer } from '../runtime/clock';
import { silent } from '../runtime/log/log';
import type { Logger } from '../runtime/log/log';

/** A credential opens one stream and lives 5 minutes; a fresh one lies ready for an enclave that has to reconnect. */
const CREDENTIAL_INTERVAL_MS = 10_000;

interface RunningEnclave {
  workloadUid: string;
  endpoint: string;
  tlsAddress: string;
}

interface EnclavesOptions {
  /** Marks the processes of this installation. */
  mark: string;
  /** Holds a folder for each enclave while it runs. */
  runFolder: string;
  /** Holds a folder for each enclave, which stays until that is removed. */
  workspaceFolder: string;
  logFile: string;
  isolation: Isolation;
  /** Holds the attestor's socket. */
  attestorFolder: string;
  clientCaFile: string;
  trustDomain: string;
  logLevel: string;
  /** An enclave without connections ends after this; 0: never. */
  idleSeconds: number;
  issueCredential(workload: {
    user: string;
    enclave: string;
    workloadUid: string;
    imageDigest: string;
  }): Promise<string>;
  /** Refuses to make or remove anything in a folder that isn't the installation's any more. */
  requireThere(): Promise<void>;
  report(line: string): void;
  /** Silent, unless told. */
  log?: Logger;
  /** The system's, unless told. */
  clock?: Clock;
}

interface Entry extends RunningEnclave {
  id: EnclaveId;
  imageDigest: string;
  folder: string;
  enclosure: Enclosure;
  child: Child;
  /** Nothing of it is left: neither the process nor what ran in it. */
  gone: Promise<void>;
}

/** The users' enclaves, one process each. */
export class Enclaves {
  private readonly live = new Map<string, Entry>();
  private readonly starting = new Map<string, Promise<Entry>>();
  private readonly removing = new Map<string, Promise<void>>();
  private readonly ending = new AbortController();
  private readonly timer: Timer;

  constructor(private readonly options: EnclavesOptions) {
    this.timer = every(options.clock ?? systemClock, CREDENTIAL_INTERVAL_MS, () => void this.refreshCredentials());
  }

  /** Starts the enclave unless it runs; calls at the same time share one start. */
  async ensure(id: EnclaveId): Promise<RunningEnclave & { started: boolean }> {
    this.ending.signal.throwIfAborted();
    const key = enclaveKey(id);
    await this.removing.get(id.user)?.catch(() => undefined);
    const running = this.live.get(key);
    if (running) return { ...running, started: false };
    let start = this.starting.get(key);
    if (!start) {
      start = this.start(id).finally(() => this.starting.delete(key));
      this.starting.set(key, start);
    }
    return { ...(await start), started: true };
  }

  /** Names of the user's enclaves that run or are starting. */
  running(user: string): string[] {
    const keys = new Set([...this.live.keys(), ...this.starting.keys()]);
    return [...keys]
      .filter((key) => key.startsWith(enclaveKey({ user, name: '' })))
      .map((key) => key.slice(user.length + 1));
  }

  /** Ends the enclave when it is still the given one; with no UID whichever it is, one that is starting included; with no name all of the user's. */
  async stop(id: EnclaveId, workloadUid: string): Promise<void> {
    if (id.name === '') {
      await Promise.all(this.running(id.user).map((name) => this.stop({ user: id.user, name }, '')));
      return;
    }
    const key = enclaveKey(id);
    if (workloadUid === '') await this.starting.get(key)?.catch(() => undefined);
    const entry = this.live.get(key);
    if (!entry || (workloadUid !== '' && entry.workloadUid !== workloadUid)) return;
    this.live.delete(key);
    await entry.child.stop();
    await entry.gone;
  }

  /** Ends the enclave and removes its folder; with no name all of the user's. */
  async remove(id: EnclaveId): Promise<void> {
    // One at a time for a user, and no start meanwhile: an enclave in a folder that is being removed would be none.
    const before = this.removing.get(id.user) ?? Promise.resolve();
    const removal = before
      .catch(() => undefined)
      .then(async () => {
        await this.stop(id, '');
        await this.options.requireThere();
        await removeWorkspaces(this.options.workspaceFolder, id);
      });
    this.removing.set(id.user, removal);
    try {
      await removal;
    } finally {
      if (this.removing.get(id.user) === removal) this.removing.delete(id.user);
    }
  }

  /** Gives every live enclave a credential that was not used yet. */
  async refreshCredentials(): Promise<void> {
    const writes = await Promise.allSettled([...this.live.values()].map((entry) => this.writeCredential(entry)));
    for (const write of writes)
      if (write.status === 'rejected')
        (this.options.log ?? silent).error({ err: write.reason as unknown }, 'no credential written');
  }

  /** Ends all of them for good. */
  async stopAll(): Promise<void> {
    this.timer.cancel();
    this.ending.abort(new Error('the installation is stopping'));
    await Promise.allSettled(this.starting.values());
    await Promise.all([...this.live.values()].map(({ id, workloadUid }) => this.stop(id, workloadUid)));
    await endLeftovers(`${this.options.mark}/`);
  }

  private async start(id: EnclaveId): Promise<Entry> {
    const { options } = this;
    await options.requireThere();
    const workloadUid = randomUUID();
    const folder = join(options.runFolder, workloadUid);
    const workspace = join(options.workspaceFolder, workspaceOf(id));
    const key = enclaveKey(id);
    for (const path of [folder, workspace]) await mkdir(path, { recursive: true, mode: 0o700 });
    const { isolation, attestorFolder, clientCaFile } = options;
    const enclosure = await isolation.enclose({ folder, workspace, attestorFolder, clientCaFile });
    const identity = { id, workloadUid, folder, enclosure, imageDigest: await imageDigest() };
    await this.writeCredential(identity);
    const listen = await openListener(HOST);
    const tls = await openListener(HOST);
    const child = await startChild({
      program: 'enclave',
      command: enclosure.command,
      enclosed: enclosure.enclosed,
      descriptors: [listen.descriptor, tls.descriptor],
      onSpawned: () => {
        listen.close();
        tls.close();
      },
      readyFile: enclosure.readyFile,
      logFile: options.logFile,
      signal: this.ending.signal,
      settings: {
        LOG_LEVEL: options.logLevel,
        LISTEN: 'fd:3',
        TLS_LISTEN: 'fd:4',
        ENCLAVE_USER: id.user,
        TRUST_DOMAIN: options.trustDomain,
        IDLE_SECONDS: String(options.idleSeconds),
        [WORKLOAD_VARIABLE]: `${options.mark}/${workloadUid}`,
        ...enclosure.settings,
      },
    }).catch(async (error: unknown) => {
      await rm(folder, { recursive: true, force: true });
      throw error;
    });
    const gone = Promise.resolve();
    const entry: Entry = {
      ...identity,
      child,
      endpoint: `http://${HOST}:${listen.port}`,
      tlsAddress: `${HOST}:${tls.port}`,
      gone,
    };
    this.live.set(key, entry);
    entry.gone = child.exited.then(async (exit) => {
      const expected = this.live.get(key) !== entry || exit.code === 0;
      if (this.live.get(key) === entry) this.live.delete(key);
      await endLeftovers(`${options.mark}/${workloadUid}`);
      if (!expected)
        options.report(`the enclave ${id.name} of user ${id.user} ended unexpectedly (${describeExit(exit)})`);
      await rm(folder, { recursive: true, force: true });
    });
    return entry;
  }

  private async writeCredential(entry: {
    id: EnclaveId;
    workloadUid: string;
    imageDigest: string;
    enclosure: Enclosure;
  }): Promise<void> {
    const { id, workloadUid, imageDigest, enclosure } = entry;
    await enclosure.refresh();
    await replaceFile(
      enclosure.credential.path,
      await this.options.issueCredential({ user: id.user, enclave: id.name, workloadUid, imageDigest }),
      enclosure.credential.mode,
    );
  }
}

/** What stands in for an image's digest on one machine: the hash of the enclave's program. */
async function imageDigest(): Promise<string> {
  return `sha256:${sha256Hex(await readFile(join(distFolder(), 'enclave.cjs')))}`;
}
