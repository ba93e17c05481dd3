import { readFile, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadAll } from 'js-yaml';
import { parseAddress } from '../runtime/rpc/address';
import { EnclaveServiceService } from '../proto/gen/licensing/v1/enclave';
import { EveryService } from '../test/support/every-service';
import { Machine } from '../test/support/machine';
import type { Row } from './bench';
import { startStranger } from './strangers/stranger';
import type { Attack } from './strangers/stranger';

const ATTACK_MS = 4_000;
const CHECK = '/grpc.health.v1.Health/Check';
/** Of a request whose end never comes: as long as the largest that every program takes. */
const PART = Buffer.alloc(5 + 32 * 1024 - 1);
PART.writeUInt32BE(32 * 1024, 1);

/** What somebody without an account can make a program hold, and in the first, do. */
const ATTACKS: Record<string, Omit<Attack, 'target'>> = {
  'calls that are reset': { kind: 'resets', connections: 8, path: CHECK },
  'silent connections': { kind: 'silent', connections: 1_500 },
  'requests without end': { kind: 'calls', connections: 32, atOnce: 128, open: true, path: CHECK, body: PART },
  'answers that are not read': { kind: 'calls', connections: 64, atOnce: 128, unread: true, path: CHECK },
};

interface Program {
  name: string;
  /** Of its process. */
  file: string;
  /** In knative/base, whose limit it has there. */
  manifest: string;
  target: Attack['target'];
  tls?: boolean;
}

async function limitMiB(manifest: string): Promise<number> {
  const text = await readFile(`knative/base/${manifest}`, 'utf8');
  for (const document of loadAll(text)) {
    const [, memory] = /"limits":\{[^}]*"memory":"(\d+)Mi"/.exec(JSON.stringify(document)) ?? [];
    if (memory !== undefined) return Number(memory);
  }
  throw new Error(`${manifest} has no limit of memory`);
}

/** The most memory that a process has had since this was last asked (proc(5), clear_refs), MiB. */
async function peakMiB(pid: number): Promise<number> {
  const [, kib] = /^VmHWM:\s+(\d+) kB/m.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? [];
  await writeFile(`/proc/${pid}/clear_refs`, '5');
  return Number(kib) / 1024;
}

/** The memory of every program that a stranger reaches, while one is at work, against the limit in its manifest. */
export async function run(): Promise<Row[]> {
  const machine = new Machine();
  try {
    await machine.startService();
    await machine.signUpAndLogin('ada');
    const services = new EveryService(machine);
    const { ports } = JSON.parse(services.file('installation.json')) as { ports: Record<'signup' | 'login', number> };
    const route = parseAddress(services.session.enclave.endpoint);
    const socket = (name: 'enrol' | 'admin' | 'attestor'): Attack['target'] => ({ path: services.socket(name) });
    const programs: Program[] = [
      { name: 'signup', file: 'signup.cjs', manifest: 'signup.yaml', target: { port: ports.signup }, tls: true },
      { name: 'login', file: 'login.cjs', manifest: 'login.yaml', target: { port: ports.login }, tls: true },
      { name: 'enrol', file: 'enrol.cjs', manifest: 'enrol.yaml', target: socket('enrol') },
      { name: 'admin', file: 'admin.cjs', manifest: 'admin.yaml', target: socket('admin') },
      { name: 'attestor', file: 'attestor-daemon.cjs', manifest: 'attestor.yaml', target: socket('attestor') },
      {
        name: 'enclave',
        file: 'enclave.cjs',
        manifest: 'enclave.yaml',
        target: route.scheme === 'unix' ? { path: route.path } : { port: route.port },
      },
    ];
    const rows: Row[] = [];
    for (const { name, file, manifest, target, tls } of programs) {
      const pid = machine.pidOf(file);
      const limit = await limitMiB(manifest);
      let attacks = Object.entries(ATTACKS);
      if (name === 'enclave')
        attacks = [
          ...attacks,
          [
            'tunnels',
            {
              kind: 'calls',
              connections: 32,
              atOnce: 64,
              open: true,
              pauseMs: 20,
              path: EnclaveServiceService.tunnel.path,
            },
          ],
        ];
      for (const [nth, [what, attack]] of attacks.entries()) {
        await peakMiB(pid);
        const stop = startStranger({ ...attack, target, tls, localAddress: `127.0.2.${nth + 1}` });
        await sleep(ATTACK_MS);
        const tried = await stop();
        const note = `knative/base/${manifest} allows ${limit}; tried ${tried}`;
        rows.push({ name: `${name}, ${what}`, value: await peakMiB(pid), unit: 'MiB', note });
      }
    }
    services.close();
    return rows;
  } finally {
    await machine.remove();
  }
}
