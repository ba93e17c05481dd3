import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { startDaemon } from '../attestor-daemon/daemon';
import type { AttestorServiceClient } from '../proto/gen/licensing/v1/attestor';
import { parseAddress } from '../core/rpc/address';
import { AttestStream, attestorClient } from '../test/support/attest-stream';
import { startNodeTpm } from '../test/support/node-tpm';
import type { NodeTpm } from '../test/support/node-tpm';
import { startTrustingEnrol } from '../test/support/enrol';
import { makeIdentity } from '../enclave/identity';
import { percentile, timed } from './bench';
import type { Row } from './bench';

/** What a quote takes on real machines: P-256, p50. */
const REAL_TPM_MS = 200;
/** Workloads on the node: each has one stream, and its requests travel on it. */
const STREAMS = 50;

/**
 * Attestations a second and their latency, through the attestor's real gRPC socket and tpm2-tools on a software TPM, as it is and with a real TPM's
 * time put in. Batched: as the attestor does it. One each: a quote for every request, measured where it ends within a minute.
 */
export async function run(): Promise<Row[]> {
  const tpm = await startNodeTpm();
  const enrol = await startTrustingEnrol(join(tpm.folder, 'enrol.sock'));
  try {
    return [...(await measure(tpm, enrol.address, 0)), ...(await measure(tpm, enrol.address, REAL_TPM_MS))];
  } finally {
    await enrol.stop();
    await tpm.stop();
  }
}

async function measure(tpm: NodeTpm, enrolAddress: ReturnType<typeof parseAddress>, quoteDelayMs: number): Promise<Row[]> {
  const listen = parseAddress(`unix:${join(tpm.folder, `attestor-${quoteDelayMs}.sock`)}`);
  const stateDir = join(tpm.folder, `attestor-${quoteDelayMs}`);
  await mkdir(stateDir);
  const daemon = await startDaemon({
    listen,
    tpm: tpm.tcti,
    node: 'bench',
    stateDir,
    enrol: { address: enrolAddress },
    akHandle: quoteDelayMs === 0 ? '0x81010010' : '0x81010011',
    quoteDelayMs,
    // Named as a stand-in: who asks is not what is measured.
    identifier: { identify: (credential) => Promise.resolve({ user: 'u', workloadUid: credential, imageDigest: `sha256:${'0'.repeat(64)}`, node: 'bench' }) },
  });
  await daemon.ready;
  const client = attestorClient(listen);
  const { certificate } = await makeIdentity('sls.bench');
  const streams = Array.from({ length: STREAMS }, (_, i) => new AttestStream(client, `Bearer workload-${i}`, certificate));
  const kind = quoteDelayMs === 0 ? 'swtpm' : `${quoteDelayMs} ms a quote`;
  try {
    const single = await oneEach(streams, quoteDelayMs === 0 ? 20 : 5);
    const rows: Row[] = [{ name: `${kind}: one quote each, one after another`, value: 1000 / percentile(single, 0.5), unit: '/s', note: `${percentile(single, 0.5).toFixed(0)} ms each` }];
    for (const concurrent of [1, 10, 100, 1_000]) rows.push(...(await together(kind, streams, concurrent, percentile(single, 0.5))));
    return rows;
  } finally {
    for (const stream of streams) stream.end();
    (client as AttestorServiceClient).close();
    await daemon.stop();
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
    const { ms } = await timed(() => Promise.all(Array.from({ length: concurrent }, async (_, i) => latencies.push((await timed(() => ask(streams, i))).ms))));
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
