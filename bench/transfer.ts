import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, open, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Machine } from '../test/support/machine';
import { timed } from './bench';
import type { Row } from './bench';

const MIB = 1024 * 1024;
const SIZE = 512 * MIB;
const ROUNDS = 7;

/**
 * Bytes a second through `sls cp` and `sls exec` with everything a user gets (verification, both quotes, the start of the process), beside the same bytes
 * through `openssl s_client` and `s_server` with TLS 1.3 on the same machine, by turns in one run. The median of the rounds.
 */
export async function run(): Promise<Row[]> {
  const folder = await mkdtemp(join(tmpdir(), 'sls-bench-'));
  const machine = new Machine();
  try {
    const file = join(folder, 'data');
    await fill(file);
    await machine.startService();
    await ok(
      machine.sls(['signup', '--username', 'bench', '--password-stdin'], { stdin: 'correct horse battery staple\n' }),
    );
    await ok(machine.sls(['login']));
    const samples = {
      openssl: [] as number[],
      put: [] as number[],
      get: [] as number[],
      exec: [] as number[],
      overhead: [] as number[],
    };
    for (let round = 0; round < ROUNDS; round++) {
      samples.openssl.push(await openssl(folder, file));
      samples.put.push((await timed(() => ok(machine.sls(['cp', file, 'enclave:data'])))).ms);
      samples.get.push((await timed(() => ok(machine.sls(['cp', 'enclave:data', join(folder, 'back')])))).ms);
      samples.exec.push((await timed(() => streamed(machine, file))).ms);
      samples.overhead.push((await timed(() => ok(machine.sls(['exec', '--', 'true'])))).ms);
    }
    const median = (values: number[]): number =>
      [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
    const rate = (ms: number): number => SIZE / MIB / (ms / 1000);
    const base = rate(median(samples.openssl));
    const row = (name: string, ms: number): Row => ({
      name,
      value: rate(ms),
      unit: 'MiB/s',
      note: `${(rate(ms) / base).toFixed(2)} of openssl`,
    });
    const overhead = median(samples.overhead);
    return [
      { name: `openssl s_client to s_server, TLS 1.3, ${SIZE / MIB} MiB`, value: base, unit: 'MiB/s' },
      { ...row('sls cp to the enclave, the whole command', median(samples.put)) },
      {
        ...row('sls cp to the enclave, without start and verification', median(samples.put) - overhead),
        note: `${(rate(median(samples.put) - overhead) / base).toFixed(2)} of openssl; target: 0.5`,
      },
      { ...row('sls cp from the enclave, the whole command', median(samples.get)) },
      {
        ...row('sls cp from the enclave, without start and verification', median(samples.get) - overhead),
        note: `${(rate(median(samples.get) - overhead) / base).toFixed(2)} of openssl; target: 0.5`,
      },
      { ...row('sls exec -- cat, there and back, the whole command', median(samples.exec)) },
      {
        name: 'sls exec -- true, the whole command',
        value: overhead,
        unit: 'ms',
        note: 'start, two quotes, verification',
      },
    ];
  } finally {
    await machine.stopService();
    await rm(folder, { recursive: true, force: true });
    await rm(machine.folder, { recursive: true, force: true });
  }
}

async function fill(path: string): Promise<void> {
  const file = await open(path, 'w');
  const block = Buffer.alloc(MIB, 'the quick brown fox ');
  for (let i = 0; i < SIZE / MIB; i++) await file.write(block);
  await file.close();
}

async function ok(ended: Promise<{ code: number | null; stderr: string }>): Promise<void> {
  const { code, stderr } = await ended;
  if (code !== 0) throw new Error(`expected exit code 0, got ${code}: ${stderr}`);
}

/** Through a command's standard input and output, in bytes, without a look at them. */
async function streamed(machine: Machine, file: string): Promise<void> {
  const child = spawn(
    process.execPath,
    [process.env['SLS_DIST'] ? join(process.env['SLS_DIST'], 'sls.cjs') : 'dist/sls.cjs', 'exec', '--', 'cat'],
    { env: machine.env },
  );
  createReadStream(file, { highWaterMark: MIB }).pipe(child.stdin);
  let bytes = 0;
  child.stdout.on('data', (chunk: Buffer) => (bytes += chunk.length));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0 || bytes !== SIZE) throw new Error(`expected ${SIZE} bytes and exit code 0, got ${bytes} and ${code}`);
}

/** Milliseconds for the file through openssl's own client and server into a file. */
async function openssl(folder: string, file: string): Promise<number> {
  const path = (name: string): string => join(folder, name);
  const request = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '1',
    '-subj',
    '/CN=localhost',
  ];
  await once(
    spawn('openssl', [...request, '-keyout', path('key'), '-out', path('certificate')], { stdio: 'ignore' }),
    'close',
  );
  const port = 20_000 + Math.floor(Math.random() * 20_000);
  const out = createWriteStream(path('received'));
  await once(out, 'open');
  const server: ChildProcess = spawn(
    'openssl',
    [
      's_server',
      '-quiet',
      '-tls1_3',
      '-naccept',
      '1',
      '-accept',
      `127.0.0.1:${port}`,
      '-key',
      path('key'),
      '-cert',
      path('certificate'),
    ],
    { stdio: ['pipe', out, 'ignore'] },
  );
  await sleep(300);
  const input = await open(file);
  const { ms } = await timed(async () => {
    const client = spawn('openssl', ['s_client', '-quiet', '-tls1_3', '-connect', `127.0.0.1:${port}`], {
      stdio: [input.fd, 'ignore', 'ignore'],
    });
    // s_client does not say when it is through: the file's size does.
    while ((await stat(path('received'))).size < SIZE) {
      if (server.exitCode !== null && (await stat(path('received'))).size < SIZE)
        throw new Error('openssl ended early');
      await sleep(5);
    }
    client.kill();
  });
  await input.close();
  server.kill();
  out.close();
  return ms;
}
