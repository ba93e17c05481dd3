import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { startDaemon } from '../attestor-daemon/daemon';
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
}

const socketOf = ({ folder, quoteDelayMs }: Served): string => join(folder, `attestor-${quoteDelayMs}.sock`);

/**
 * Attestations a second and their latency, through the attestor's real gRPC socket and tpm2-tools on a software TPM, as it is and with a real TPM's
 * time put in. Batched: as the attestor does it. One each: a quote for every request. The attestor has a thread of its own, as it has a process of its own
 * on a node.
 */
export async function run(): Promise<Row[]> {
  if (!isMainThread) return serve(workerData as Served);
  const tpm = await startNodeTpm();
  const enrolSocket = join(tpm.folder, 'enrol.sock');
  const enrol = await startTrustingEnrol(enrolSocket);
  try {
    const rows: Row[] = [];
    for (const quoteDelayMs of [0, REAL_TPM_MS])
      rows.push(...(await measure({ tpm: tpm.tcti, folder: tpm.folder, enrolSocket, quoteDelayMs })));
    return rows;
  } finally {
    await enrol.stop();
    await tpm.stop();
  }
}

/** The attestor, until the main thread says that it is enough. */
async function serve(served: Served): Promise<Row[]> {
  const stateDir = join(served.folder, `attestor-${served.quoteDelayMs}`);
  await mkdir(stateDir);
  const daemon = await startDaemon({
    listen: parseAddress(`unix:${socketOf(served)}`),
    tpm: served.tpm,
    node: 'bench',
    stateDir,
    enrol: { address: parseAddress(`unix:${served.enrolSocket}`) },
    akHandle: served.quoteDelayMs === 0 ? '0x81010010' : '0x81010011',
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

async function measure(served: Served): Promise<Row[]> {
  const attestor = new Worker(__filename, { workerData: served });
  await once(attestor, 'message');
  const client = attestorClient(parseAddress(`unix:${socketOf(served)}`));
  const { certificate } = await makeIdentity('sls.bench');
  const streams = Array.from(
    { length: STREAMS },
    (_, i) => new AttestStream(client, `Bearer workload-${i}`, certificate),
  );
  const kind = served.quoteDelayMs === 0 ? 'swtpm' : `${served.quoteDelayMs} ms a quote`;
  try {
    const single = await oneEach(streams, served.quoteDelayMs === 0 ? 20 : 5);
    const rows: Row[] = [
      {
        name: `${kind}: one quote each, one after another`,
        value: 1000 / percentile(single, 0.5),
        unit: '/s',
        note: `${percentile(single, 0.5).toFixed(0)} ms each`,
      },
    ];
    for (const concurrent of [1, 10, 100, 1_000])
      rows.push(...(await together(kind, streams, concurrent, percentile(single, 0.5))));
    return rows;
  } finally {
    for (const stream of streams) stream.end();
    client.close();
    attestor.postMessage('enough');
    await once(attestor, 'exit');
  }
}

async function oneEach(streams: AttestStream[], count: number): Promise<number[]> {
  const samples: number[] = [];
  for (let i = 0; i < count; i++) samples.push((await timed(() => ask(streams, i))).ms);
  return samples;
}

async function together(kind: string, streams: AttestStream[], concurrent: number, quoteMs: number): Promise<Row[]> {
  const rounds = concurrent === 1 ? 10 : 3;
  const latencies: number[] = [];
  const walls: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const { ms } = await timed(() =>
      Promise.all(
        Array.from({ length: concurrent }, async (_, i) => latencies.push((await timed(() => ask(streams, i))).ms)),
      ),
    );
    walls.push(ms);
  }
  const wall = percentile(walls, 0.5);
  const name = `${kind}: ${concurrent} at once, batched`;
  const quotes = `all after ${wall.toFixed(0)} ms, ${(wall / quoteMs).toFixed(1)} quotes' time${concurrent === 1_000 ? '; target: 3' : ''}`;
  return [
    { name, value: (concurrent * 1000) / wall, unit: '/s', note: quotes },
    { name: `${name}, p50`, value: percentile(latencies, 0.5), unit: 'ms' },
    { name: `${name}, p99`, value: percentile(latencies, 0.99), unit: 'ms' },
  ];
}

async function ask(streams: AttestStream[], i: number): Promise<void> {
  const answer = await (streams[i % streams.length] as AttestStream).ask();
  if (answer?.$case !== 'evidence') throw new Error(`expected evidence, got ${JSON.stringify(answer)}`);
}
