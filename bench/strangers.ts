import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { RefreshRequest } from '../proto/gen/licensing/v1/account';
import { AccountServiceService } from '../proto/gen/licensing/v1/account';
import { EnclaveServiceService } from '../proto/gen/licensing/v1/enclave';
import { LoginServiceService } from '../proto/gen/licensing/v1/login';
import { GetInclusionProofRequest, TransparencyServiceService } from '../proto/gen/licensing/v1/transparency';
import type { RunningProgram } from '../test/support/program';
import { percentile, timed } from './bench';
import type { Row } from './bench';
import { startDoor } from './strangers/enclave';
import { startServices } from './strangers/installation';
import { framed, startStranger } from './strangers/stranger';
import type { Attack } from './strangers/stranger';

/** Quiet and under attack by turns: whatever else goes on here is in both. */
const ROUNDS = 4;
const TURN_MS = 5_000;
/** Until an attack is under way, and until what it left is gone. */
const SETTLE_MS = 500;

interface Case {
  name: string;
  program: RunningProgram;
  attack: Omit<Attack, 'localAddress' | 'target'> & { port?: number };
  honest(): Promise<unknown>;
}

/** One that fails counts by the time that it took to. @returns how many failed */
async function measure(honest: () => Promise<unknown>, into: number[]): Promise<number> {
  const end = performance.now() + TURN_MS;
  let failed = 0;
  while (performance.now() < end) {
    const { ms, result } = await timed(() =>
      honest().then(
        () => 0,
        () => 1,
      ),
    );
    into.push(ms);
    failed += result;
  }
  return failed;
}

let addresses = 0;
/** A new one for each turn: who was a stranger before has been turned away for a while. */
const newAddress = (): string => `127.0.1.${(addresses += 1)}`;

/** The most memory that a process has had since this was last asked (proc(5), clear_refs), MiB. */
async function peakMiB({ pid, memory }: RunningProgram): Promise<number> {
  const { peak } = await memory();
  await writeFile(`/proc/${pid}/clear_refs`, '5');
  return peak;
}

/** An honest caller's p50 and p99, quiet and while strangers are at work, by turns. */
async function underAttack({ name, program, attack: { port, ...attack }, honest }: Case): Promise<Row[]> {
  const [quiet, attacked]: [number[], number[]] = [[], []];
  let [tried, failed] = [0, 0];
  await honest();
  await peakMiB(program);
  for (let round = 0; round < ROUNDS; round += 1) {
    failed += await measure(honest, quiet);
    const stop = startStranger({ ...attack, target: { port: port ?? program.port }, localAddress: newAddress() });
    await sleep(SETTLE_MS);
    failed += await measure(honest, attacked);
    tried += await stop();
    await sleep(SETTLE_MS);
  }
  const peak = await peakMiB(program);
  const perSecond = Math.round(tried / ((ROUNDS * (TURN_MS + SETTLE_MS)) / 1000));
  const rows = [0.5, 0.99].map((share): Row => {
    const [before, during] = [percentile(quiet, share), percentile(attacked, share)];
    const note = `quiet ${before.toFixed(0)} ms: ${(during / before).toFixed(1)} times, expected 3 at most; of ${attacked.length} and ${quiet.length}`;
    return { name: `${name}, p${share * 100}`, value: during, unit: 'ms', note };
  });
  return [
    ...rows,
    {
      name: '  strangers tried',
      value: perSecond,
      unit: '/s',
      note: `${failed} honest calls failed; memory at most ${peak.toFixed(0)} MiB`,
    },
  ];
}

/** What an honest caller notices of strangers, each of whom has one address: SECURITY.md, what callers can cost. */
export async function run(): Promise<Row[]> {
  const services = await startServices();
  const door = await startDoor();
  const { login, signup, logIn, signUp } = services;
  const resets = { kind: 'resets', connections: 8 } as const;
  const calls = { kind: 'calls', connections: 4, atOnce: 250 } as const;
  const proof = GetInclusionProofRequest.encode({ leafSha256: randomBytes(32), size: 1n }).finish();
  const rubbish = RefreshRequest.encode({ refreshToken: 'x'.repeat(43), clientName: '' }).finish();
  const cases: Case[] = [
    {
      name: 'login while calls are reset at once',
      program: login,
      attack: { ...resets, path: TransparencyServiceService.getTreeHead.path },
      honest: logIn,
    },
    {
      name: 'login while others ask the database',
      program: login,
      attack: { ...calls, path: TransparencyServiceService.getInclusionProof.path, body: framed(proof) },
      honest: logIn,
    },
    {
      name: 'login while one is sent again and again',
      program: login,
      attack: {
        ...calls,
        connections: 1,
        atOnce: 64,
        path: LoginServiceService.login.path,
        body: framed(services.replayed),
      },
      honest: logIn,
    },
    {
      name: 'sign-up while calls are reset at once',
      program: signup,
      attack: { ...resets, path: AccountServiceService.signUp.path },
      honest: signUp,
    },
    {
      name: 'sign-up while others ask the database',
      program: signup,
      attack: { ...calls, path: AccountServiceService.refresh.path, body: framed(rubbish) },
      honest: signUp,
    },
    {
      name: 'handshake with an enclave while others say nothing',
      program: door.enclave,
      attack: { kind: 'silent', connections: 300, port: door.enclave.ports['tls']! },
      honest: door.byTls,
    },
    {
      name: 'the same by a tunnel, while others have tunnels',
      program: door.enclave,
      attack: { ...calls, atOnce: 64, open: true, pauseMs: 20, path: EnclaveServiceService.tunnel.path },
      honest: door.byTunnel,
    },
  ];
  const only = process.env['STRANGERS'];
  try {
    const rows: Row[] = [];
    for (const one of cases) if (only === undefined || one.name.includes(only)) rows.push(...(await underAttack(one)));
    return rows;
  } finally {
    await Promise.all([services.stop(), door.stop()]);
  }
}
