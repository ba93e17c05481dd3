import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { z } from 'zod';
import { readIfThere, replaceDurably } from '../runtime/files/whole-file';
import { every, systemClock } from '../runtime/clock';
import type { Clock, Timer } from '../runtime/clock';
import { RpcError } from '../runtime/rpc/errors';
import type { KnownWorkload, Workload, WorkloadIdentifier } from './identity/identity';
import { silent } from '../runtime/log/log';
import type { Logger } from '../runtime/log/log';

/** A node runs some hundred pods. */
const MAX_RECORDS = 4_096;
const SWEEP_MS = 60_000;
const FILE = 'workload-certificates.json';
/** Write permission of group and others. */
const OTHERS_WRITE = 0o022;

const recordFile = z.object({
  version: z.literal(1),
  workloads: z.array(
    z.object({
      workloadUid: z.string().min(1),
      name: z.string(),
      certificateSha256: z.string().regex(/^[0-9a-f]{64}$/),
    }),
  ),
});

interface Held extends KnownWorkload {
  /** Hex. */
  certificateSha256: string;
  /** Rejects when it couldn't be written down: then nothing was made for it. */
  written: Promise<void>;
  /** Monotonic milliseconds. */
  seenAt: number;
}

export interface WorkloadCertificatesOptions {
  /** Survives restarts of the attestor. */
  stateDir: string;
  isGone: WorkloadIdentifier['isGone'];
  /** Records that are kept at most; default 4,096. */
  maxRecords?: number;
  clock?: Clock;
  /** Silent, unless told. */
  log?: Logger;
}

/**
 * Which certificate each workload showed first. It gets evidence for that one and for no other as long as it lives, across streams and across
 * restarts of the attestor, so whoever gets hold of its credential can't make evidence for a key of their own. A container that starts again in
 * its pod makes another certificate, and gets nothing: what ran in it before could read the pod's token, and would be as fast. A record is on disk before the
 * first evidence is made, and is forgotten when the workload is gone; what can't be written down gets nothing.
 */
export class WorkloadCertificates {
  private readonly held = new Map<string, Held>();
  private readonly clock: Clock;
  private readonly path: string;
  private readonly timer: Timer;
  private writing: Promise<void> = Promise.resolve();
  private queued: Promise<void> | undefined;
  private sweeping: Promise<void> | undefined;

  private constructor(private readonly options: WorkloadCertificatesOptions) {
    this.clock = options.clock ?? systemClock;
    this.path = join(options.stateDir, FILE);
    this.timer = every(this.clock, SWEEP_MS, () => void this.sweep());
  }

  /** @throws Error when the record can't be read, isn't as it was written, or is in a folder that others may write to */
  static async open(options: WorkloadCertificatesOptions): Promise<WorkloadCertificates> {
    const { stateDir } = options;
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    const mode = (await stat(stateDir)).mode & 0o777;
    if ((mode & OTHERS_WRITE) !== 0)
      throw new Error(
        `expected ${stateDir} to be writable by its owner only, got mode ${mode.toString(8).padStart(4, '0')}: chmod go-w ${stateDir}`,
      );
    const text = await readIfThere(join(stateDir, FILE));
    const known = text === undefined ? [] : parse(join(stateDir, FILE), text);
    const opened = new WorkloadCertificates(options);
    for (const record of known)
      opened.held.set(record.workloadUid, { ...record, written: Promise.resolve(), seenAt: opened.clock.monotonic() });
    return opened;
  }

  /**
   * Takes the certificate for the workload's when it is the first one that the workload shows.
   * @returns false when it showed another one before
   * @throws RpcError attestor.record_unwritable, attestor.too_many_workloads
   */
  async isFirst(workload: Workload, certificateSha256: Uint8Array): Promise<boolean> {
    const { workloadUid, name = '' } = workload;
    const hash = Buffer.from(certificateSha256).toString('hex');
    let held = this.held.get(workloadUid);
    if (held === undefined) {
      if (this.held.size >= (this.options.maxRecords ?? MAX_RECORDS))
        throw new RpcError(
          'attestor.too_many_workloads',
          status.RESOURCE_EXHAUSTED,
          'more workloads than a node runs have shown certificates: try again later',
        );
      // Known from here on, so that of two at once only one is the first.
      held = { workloadUid, name, certificateSha256: hash, written: this.write(), seenAt: this.clock.monotonic() };
      this.held.set(workloadUid, held);
    }
    try {
      await held.written;
    } catch (cause) {
      if (this.held.get(workloadUid) === held) this.held.delete(workloadUid);
      (this.options.log ?? silent).error({ err: cause }, "the record of workloads' certificates can not be written");
      throw new RpcError(
        'attestor.record_unwritable',
        status.UNAVAILABLE,
        "the attestor can't write down which certificate the workload showed",
        { cause },
      );
    }
    return held.certificateSha256 === hash;
  }

  /** How many workloads are known. */
  get size(): number {
    return this.held.size;
  }

  /** Told while a workload has a stream: it is not gone. */
  seen(workload: Workload): void {
    const held = this.held.get(workload.workloadUid);
    if (held !== undefined) held.seenAt = this.clock.monotonic();
  }

  /** Forgets the workloads that are gone. */
  sweep(): Promise<void> {
    this.sweeping ??= this.sweepOnce().finally(() => (this.sweeping = undefined));
    return this.sweeping;
  }

  async close(): Promise<void> {
    this.timer.cancel();
    await this.sweeping;
    await this.writing;
  }

  private async sweepOnce(): Promise<void> {
    let forgotten = 0;
    for (const held of [...this.held.values()]) {
      const unseenMs = this.clock.monotonic() - held.seenAt;
      if (unseenMs < SWEEP_MS) continue;
      const { workloadUid, name } = held;
      // Who doesn't know keeps it.
      const gone = await this.options.isGone({ workloadUid, name }, unseenMs).catch(() => false);
      if (!gone || this.clock.monotonic() - held.seenAt < unseenMs) continue;
      this.held.delete(workloadUid);
      forgotten++;
    }
    if (forgotten === 0) return;
    await this.write().catch((err: unknown) =>
      (this.options.log ?? silent).error({ err }, "the record of workloads' certificates can not be written"),
    );
  }

  /** On disk with everything that is held now. Those who ask while one write is under way share the next. */
  private write(): Promise<void> {
    this.queued ??= this.writing.then(async () => {
      this.queued = undefined;
      const workloads = [...this.held.values()].map(({ workloadUid, name, certificateSha256 }) => ({
        workloadUid,
        name,
        certificateSha256,
      }));
      await replaceDurably(this.path, `${JSON.stringify({ version: 1, workloads })}\n`);
    });
    this.writing = this.queued.catch(() => undefined);
    return this.queued;
  }
}

function parse(path: string, text: string): z.infer<typeof recordFile>['workloads'] {
  try {
    return recordFile.parse(JSON.parse(text)).workloads;
  } catch (cause) {
    throw new Error(
      `expected ${path} as the attestor wrote it, got something else: end the enclaves of this node, then remove it`,
      { cause },
    );
  }
}
