import { setMaxListeners } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { credentials } from '@grpc/grpc-js';
import { decodeJwt } from 'jose';
import { createAuthority } from '../licensing/authority/authority';
import { callUnary } from '../runtime/rpc/client';
import { HealthClient } from '../proto/gen/grpc/health/v1/health';
import { AccountServiceClient } from '../proto/gen/licensing/v1/account';
import { LoginServiceClient } from '../proto/gen/licensing/v1/login';
import type { LoginRequest } from '../proto/gen/licensing/v1/login';
import { writeAccountFiles } from '../test/support/accounts';
import type { AccountFiles } from '../test/support/accounts';
import { startEmbeddedTestPostgres } from '../test/support/embedded-postgres';
import { startEnclaveEndpoint } from '../test/support/enclave-endpoint';
import { startOneLauncher } from '../test/support/one-launcher';
import { byPassword, byToken, logIn, loginRequest, newClientKey } from '../test/support/login-client';
import { startProgram } from '../test/support/program';
import type { RunningProgram } from '../test/support/program';
import { percentile, timed } from './bench';
import type { Row } from './bench';

const PASSWORD = 'correct horse battery staple';
/** The functions' default. */
const COST = 12;
/** At once, so that the program always has something to do, and the machine's other programs are waited for by few. */
const CALLERS = 16;
/** As Linux reports CPU time: USER_HZ. */
const TICKS_PER_SECOND = 100;

export interface Sizes {
  byToken: number;
  byPassword: number;
  /** Logins that wait while health is asked for. */
  waiting: number;
  checks: number;
}

const SIZES: Sizes = { byToken: 1_000, byPassword: 100, waiting: 500, checks: 1_000 };

/** User and system time of all of a process's threads, seconds (proc(5), /proc/PID/stat, fields 14 and 15). */
async function cpuSeconds({ pid }: RunningProgram): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/**
 * What a login costs the login program itself, as it is shipped: logins divided by the CPU time that all of its threads took, which is logins a second for each core. Clients, PostgreSQL,
 * launcher and enclave (which answers at once, with evidence that login verifies) run in the benchmark's process and do not count. Then how long a health check takes while a crowd
 * of logins waits for its passwords to be hashed.
 */
export async function run(sizes: Sizes = SIZES): Promise<Row[]> {
  const database = await startEmbeddedTestPostgres();
  const files = await writeAccountFiles(database.url);
  const clientCa = await createAuthority({ commonName: 'client CA', trustDomain: 'sls.test', years: 1 });
  const [keyFile, certificateFile, socket] = ['ca.key', 'ca.crt', 'launcher.sock'].map((name) =>
    join(files.folder, name),
  ) as [string, string, string];
  await writeFile(keyFile, clientCa.privateKey, { mode: 0o600 });
  await writeFile(certificateFile, clientCa.certificate);

  const accessToken = await signUp(files);
  const user = decodeJwt(accessToken).sub as string;
  const enclave = await startEnclaveEndpoint({ user, clientCa: clientCa.certificate });
  const launcher = await startOneLauncher(socket, () => Promise.resolve({ ...enclave.location, started: false }));
  const program = await startProgram('login', {
    ...files.settings,
    LOG_LEVEL: 'error',
    LISTEN: 'http://127.0.0.1:0',
    BCRYPT_COST: String(COST),
    HASH_QUEUE: String(sizes.waiting),
    LOGIN_FAILURES_PER_ACCOUNT: '0',
    LOGIN_FAILURES_PER_ADDRESS: '0',
    LOGINS_PER_ACCOUNT: '0',
    CLIENT_CA_KEY_FILE: keyFile,
    CLIENT_CA_CERTIFICATE_FILE: certificateFile,
    LAUNCHER: 'process',
    LAUNCHER_ADDRESS: `unix:${socket}`,
  });
  const client = new LoginServiceClient(`127.0.0.1:${program.port}`, credentials.createInsecure());
  const key = await newClientKey();
  const byPasswordRequest = (): LoginRequest => loginRequest(key, byPassword('bench', PASSWORD));
  try {
    const token = await logins(client, program, sizes.byToken, () => loginRequest(key, byToken(accessToken)));
    const password = await logins(client, program, sizes.byPassword, byPasswordRequest);
    const idle = await healthChecks(program, sizes.checks);
    const ending = new AbortController();
    setMaxListeners(0, ending.signal);
    const crowd = Array.from({ length: sizes.waiting }, () =>
      logIn(client, byPasswordRequest(), { signal: ending.signal, timeout: 600_000 }).catch(() => undefined),
    );
    await sleep(500);
    const loaded = await healthChecks(program, sizes.checks);
    ending.abort();
    await Promise.all(crowd);
    const cores = `${availableParallelism()} cores`;
    return [
      {
        name: 'logins a second for each core, by token',
        value: token.forEachCore,
        unit: 'logins/s',
        note: `${token.aSecond.toFixed(1)} a second in all, ${cores} shared with everything else`,
      },
      {
        name: `logins a second for each core, by password (bcrypt, cost ${COST})`,
        value: password.forEachCore,
        unit: 'logins/s',
        note: `${password.aSecond.toFixed(1)} a second in all`,
      },
      { name: 'health check, nothing else going on, p99', value: percentile(idle, 0.99), unit: 'ms' },
      { name: `health check while ${sizes.waiting} logins wait, p50`, value: percentile(loaded, 0.5), unit: 'ms' },
      { name: `health check while ${sizes.waiting} logins wait, p99`, value: percentile(loaded, 0.99), unit: 'ms' },
    ];
  } finally {
    client.close();
    await program.stop();
    await Promise.all([enclave.stop(), launcher.stop(0)]);
    await files.remove();
    await database.stop();
  }
}

/** @returns an access token of the new account's */
async function signUp({ settings }: AccountFiles): Promise<string> {
  const program = await startProgram('signup', {
    ...settings,
    LOG_LEVEL: 'error',
    LISTEN: 'http://127.0.0.1:0',
    BCRYPT_COST: String(COST),
  });
  const client = new AccountServiceClient(`127.0.0.1:${program.port}`, credentials.createInsecure());
  try {
    return (
      await callUnary(
        client,
        client.signUp,
        { username: 'bench', password: PASSWORD, clientName: '' },
        { timeout: 30_000 },
      )
    ).accessToken;
  } finally {
    client.close();
    await program.stop();
  }
}

async function logins(
  client: LoginServiceClient,
  program: RunningProgram,
  count: number,
  request: () => LoginRequest,
): Promise<{ forEachCore: number; aSecond: number }> {
  // The first ones load code and fill caches.
  for (let i = 0; i < Math.min(count, CALLERS); i++) await logIn(client, request());
  const before = await cpuSeconds(program);
  let left = count;
  const caller = async (): Promise<void> => {
    while (left-- > 0) await logIn(client, request(), { timeout: 120_000 });
  };
  const { ms } = await timed(() => Promise.all(Array.from({ length: CALLERS }, caller)));
  const used = (await cpuSeconds(program)) - before;
  return { forEachCore: count / used, aSecond: (count / ms) * 1_000 };
}

/** One after the other, on a connection of their own, as a kubelet's. @returns milliseconds of each */
async function healthChecks({ port }: RunningProgram, count: number): Promise<number[]> {
  const client = new HealthClient(`127.0.0.1:${port}`, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
  });
  const samples: number[] = [];
  try {
    for (let i = 0; i < count; i++)
      samples.push((await timed(() => callUnary(client, client.check, { service: '' }, { timeout: 30_000 }))).ms);
  } finally {
    client.close();
  }
  return samples;
}
