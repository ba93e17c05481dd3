import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { startDaemon } from '../attestor-daemon/daemon';
import type { TpmTransport } from '../attestor-daemon/tpm/transport';
import { parseAddress } from '../runtime/rpc/address';
import { AttestStream, attestorClient } from '../test/support/attest-stream';
import { startNodeTpm } from '../test/support/node-tpm';
import { startTrustingEnrol } from '../test/support/enrol';
import { makeIdentity } from '../enclave/identity';
import { percentile, timed } from './bench';
import type { Row } from './bench';

/** What a quote takes on real machines: P-256, p50. */
const REAL_TPM_MS = 200;
/** Workloads on the node: each has one stream, and its requests travel on it. */
const STREAMS = 50;

/** What the attestor's thread is told. */
interface Served {
  tpm: string;
  folder: string;
  enrolSocket: string;
  quoteDelayMs: number;
  transport: TpmTransport;
}

const TRANSPORTS: TpmTransport[] = ['native', 'tools'];

const nameOf = ({ transport, quoteDelayMs }: Served): string => `${transport}-${quoteDelayMs}`;
const socketOf = (served: Served): string => join(served.folder, `${nameOf(served)}.sock`);

/**
 * Attestations a second and their latency, through the attestor's real gRPC socket on a software TPM, as it is and with a real TPM's time put in:
 * by the TPM's own commands and by tpm2-tools, by turns. Batched: as the attestor does it. One each: a quote for every request. The attestor has a thread of its own, as it has a process of its own
 * on a node.
 */
export async function run(): Promise<Row[]> {
  if (!isMainThread) return serve(workerData as Served);
  const tpm = await startNodeTpm();
  const enrolSocket = join(tpm.folder, 'enrol.sock');
  const enrol = await startTrustingEnrol(enrolSocket);
  try {
    const rows: Row[] = [];
    for (const quoteDelayMs of [0, REAL_TPM_MS]) {
      const served = { tpm: tpm.tcti, folder: tpm.folder, enrolSocket, quoteDelayMs };
      rows.push(...(await measure(TRANSPORTS.map((transport) => ({ ...served, transport })))));
    }
    return rows;
  } finally {
    await enrol.stop();
    await tpm.stop();
  }
}

/** The attestor, until the main thread says that it is enough. */
async function serve(served: Served): Promise<Row[]> {
  const stateDir = join(served.folder, nameOf(served));
  await mkdir(stateDir);
  const daemon = await startDaemon({
    listen: parseAddress(`unix:${socketOf(served)}`),
    tpm: served.tpm,
    tpmTransport: served.transport,
    node: 'bench',
    stateDir,
    enrol: { address: parseAddress(`unix:${served.enrolSocket}`) },
    akHandle: `0x8101001${TRANSPORTS.indexOf(served.transport) + (served.quoteDelayMs === 0 ? 0 : TRANSPORTS.length)}`,
    quoteDelayMs: served.quoteDelayMs,
    // Named as a stand-in: who asks is not what is measured.
    identifier: {
      identify: (credential) =>
        Promise.resolve({ user: 'u', workloadUid: credential, imageDigest: `sha256:${'0'.repeat(64)}`, node: 'bench' }),
      isGone: () => Promise.resolve(false),
    },
  });
  await daemon.ready;
  parentPort?.postMessage('ready');
  await new Promise((resolve) => parentPort?.once('message', resolve));
  await daemon.stop();
  // Ends the thread, before it prints results that are not its own.
  process.exit(0);
}

/** An attestor that runs, and workloads that ask it. */
interface Running {
  kind: string;
  streams: AttestStream[];
  stop(): Promise<void>;
}

async function start(served: Served, certificate: Buffer): Promise<Running> {
  const attestor = new Worker(__filename, { workerData: served });
  await once(attestor, 'message');
  const client = attestorClient(parseAddress(`unix:${socketOf(served)}`));
  const streams = Array.from(
    { length: STREAMS },
    (_, i) => new AttestStream(client, `Bearer workload-${i}`, certificate),
  );
  return {
    kind: `${served.quoteDelayMs === 0 ? 'swtpm' : `${served.quoteDelayMs} ms a quote`}, ${served.transport}`,
    streams,
    async stop() {
      for (const stream of streams) stream.end();
      client.close();
      attestor.postMessage('enough');
      await once(attestor, 'exit');
    },
  };
}

/** One after the other: the first of them has made its key before the next begins. */
async function measure(all: Served[]): Promise<Row[]> {
  const { certificate } = await makeIdentity('sls.bench');
  const running: Running[] = [];
  try {
    for (const served of all) running.push(await start(served, certificate));
    const rounds = all[0]?.quoteDelayMs === 0 ? 60 : 10;
    const alone = await byTurns(running, rounds, async ({ streams }, i) => [(await timed(() => ask(streams, i))).ms]);
    const rows: Row[] = running.flatMap(({ kind }, at) => {
      const [p50, p99] = [percentile(alone[at] ?? [], 0.5), percentile(alone[at] ?? [], 0.99)];
      const note = `${p50.toFixed(1)} ms each, p99 ${p99.toFixed(1)} ms`;
      return [{ name: `${kind}: one quote each, one after another`, value: 1000 / p50, unit: '/s', note }];
    });
    for (const concurrent of [10, 100, 1_000]) rows.push(...(await together(running, concurrent, alone)));
    return rows;
  } finally {
    for (const { stop } of running) await stop();
  }
}

/** @returns the samples of each, which take turns round by round */
async function byTurns(
  running: Running[],
  rounds: number,
  sample: (of: Running, round: number) => Promise<number[]>,
): Promise<number[][]> {
  const samples: number[][] = running.map(() => []);
  for (let round = 0; round < rounds; round++)
    for (const [at, each] of running.entries()) samples[at]?.push(...(await sample(each, round)));
  return samples;
}

async function together(running: Running[], concurrent: number, alone: number[][]): Promise<Row[]> {
  const walls: number[][] = running.map(() => []);
  const latencies = await byTurns(running, 5, async (each) => {
    const { ms, result } = await timed(() =>
      Promise.all(Array.from({ length: concurrent }, async (_, i) => (await timed(() => ask(each.streams, i))).ms)),
    );
    walls[running.indexOf(each)]?.push(ms);
    return result;
  });
  return running.flatMap(({ kind }, at) => {
    const wall = percentile(walls[at] ?? [], 0.5);
    const quotes = (wall / percentile(alone[at] ?? [], 0.5)).toFixed(1);
    const note = `all after ${wall.toFixed(0)} ms, ${quotes} quotes' time${concurrent === 1_000 ? '; target: 2.6' : ''}`;
    const name = `${kind}: ${concurrent} at once, batched`;
    return [
      { name, value: (concurrent * 1000) / wall, unit: '/s', note },
      { name: `${name}, p50`, value: percentile(latencies[at] ?? [], 0.5), unit: 'ms' },
      { name: `${name}, p99`, value: percentile(latencies[at] ?? [], 0.99), unit: 'ms' },
    ];
  });
}

async function ask(streams: AttestStream[], i: number): Promise<void> {
  const answer = await (streams[i % streams.length] as AttestStream).ask();
  if (answer?.$case !== 'evidence') throw new Error(`expected evidence, got ${JSON.stringify(answer)}`);
}
