import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { RULES } from '../../../runtime/rpc/rules';
import type { Method } from '../../../runtime/rpc/rules';
import { callAt, EveryService } from '../../support/every-service';
import { Machine, PASSWORD } from '../../support/machine';

const PROGRAMS = ['signup', 'login', 'enrol', 'admin', 'attestor', 'launcher'] as const;
type Program = (typeof PROGRAMS)[number];
/** Below the ports that Linux gives out by itself. */
const FIRST_PORT = 20_000 + (process.pid % 2_000) * 6;

let machine: Machine;
let services: EveryService;
beforeAll(async () => {
  machine = new Machine();
  await machine.startService(['--metrics-port', String(FIRST_PORT)]);
  await machine.signUpAndLogin('lovelace');
  services = new EveryService(machine);
  const wrong = await machine.sls(['login', '--username', 'lovelace', '--password-stdin'], {
    stdin: 'wrong horse battery staple\n',
  });
  expect(wrong.code).toBe(4);
});
afterAll(async () => {
  services.close();
  await machine.remove();
});

async function scrape(program: Program): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${FIRST_PORT + PROGRAMS.indexOf(program)}/metrics`);
  expect(answer.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
  return answer.text();
}

/** A sample's value; 0 where there is none. */
const valueOf = (text: string, sample: string): number =>
  Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`${sample} `))
      ?.split(' ')
      .pop() ?? 0,
  );

/** Label names and values of every sample. */
function labels(text: string): Array<[string, string]> {
  return text
    .split('\n')
    .filter((line) => !line.startsWith('#'))
    .flatMap((line) =>
      [...line.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(
        ([, name = '', value = '']) => [name, value] as [string, string],
      ),
    );
}

test('each program counts the calls that it served, by method and status', async () => {
  expect(
    valueOf(await scrape('signup'), 'sls_rpc_calls_total{method="/licensing.v1.AccountService/SignUp",code="OK"}'),
  ).toBe(1);
  const login = await scrape('login');
  expect(valueOf(login, 'sls_rpc_calls_total{method="/licensing.v1.LoginService/Login",code="OK"}')).toBe(1);
  expect(valueOf(login, 'sls_rpc_calls_total{method="/licensing.v1.LoginService/Login",code="UNAUTHENTICATED"}')).toBe(
    1,
  );
  expect(valueOf(login, 'sls_rpc_duration_seconds_count{method="/licensing.v1.LoginService/Login"}')).toBe(2);
  expect(valueOf(login, 'sls_rpc_in_flight{method="/licensing.v1.LoginService/Login"}')).toBe(0);
  expect(
    valueOf(
      await scrape('enrol'),
      'sls_rpc_calls_total{method="/licensing.v1.EnrolService/CompleteEnrolment",code="OK"}',
    ),
  ).toBe(1);
  // The enclave's stream is open.
  expect(valueOf(await scrape('attestor'), 'sls_rpc_in_flight{method="/licensing.v1.AttestorService/Attest"}')).toBe(1);
});

test("each method that is not an enclave's has its metric", async () => {
  const methods = (Object.keys(RULES) as Method[]).filter(
    (method) => !/\.(Health|EnclaveService|SessionService)\//.test(method),
  );
  const seen = new Map<Method, string>();
  for (const method of methods) seen.set(method, (await services.call(method, Buffer.alloc(0))).code);
  const text = (await Promise.all(PROGRAMS.map(scrape))).join('\n');
  // What is not served yet is watched by test/runtime/rpc/rules.authorization.test.ts.
  for (const [method, code] of [...seen].filter(([, outcome]) => outcome !== 'UNIMPLEMENTED'))
    expect({
      method,
      code,
      counted: valueOf(text, `sls_rpc_calls_total{method="${method}",code="${code}"}`) > 0,
    }).toEqual({ method, code, counted: true });
});

test('an administrator without a proof is counted as refused', async () => {
  await services.call('/licensing.v1.AdminService/ListNodes', Buffer.alloc(0));
  expect(
    valueOf(
      await scrape('admin'),
      'sls_rpc_calls_total{method="/licensing.v1.AdminService/ListNodes",code="UNAUTHENTICATED"}',
    ),
  ).toBeGreaterThan(0);
});

test('what is refused before any handler sees it is counted as well', async () => {
  await services.call('/licensing.v1.TrustService/GetTrustBundle', Buffer.alloc(2_000));
  await services.call('/licensing.v1.LoginService/Login', Buffer.alloc(200_000));
  const login = await scrape('login');
  expect(
    valueOf(login, 'sls_rpc_calls_total{method="/licensing.v1.TrustService/GetTrustBundle",code="RESOURCE_EXHAUSTED"}'),
  ).toBe(1);
  expect(
    valueOf(login, 'sls_rpc_calls_total{method="/licensing.v1.LoginService/Login",code="RESOURCE_EXHAUSTED"}'),
  ).toBe(1);
});

test('what an operator asks: logins by result, starts of enclaves, quotes, queues', async () => {
  const login = await scrape('login');
  expect(valueOf(login, 'sls_logins_total{result="ok"}')).toBe(1);
  expect(valueOf(login, 'sls_logins_total{result="login.wrong_credentials"}')).toBe(1);
  expect(valueOf(login, 'sls_enclave_starts_total{result="ok"}')).toBe(1);
  expect(valueOf(login, 'sls_enclave_start_seconds_count')).toBe(1);
  expect(valueOf(login, 'sls_enclave_start_seconds_sum')).toBeGreaterThan(0.05);
  const attestor = await scrape('attestor');
  // Before the connection and inside it.
  expect(valueOf(attestor, 'sls_quote_duration_seconds_count')).toBeGreaterThanOrEqual(2);
  expect(valueOf(attestor, 'sls_quote_requests_sum')).toBeGreaterThanOrEqual(2);
  const now = Date.now() / 1000;
  expect(valueOf(attestor, 'sls_last_quote_timestamp_seconds')).toBeLessThanOrEqual(now);
  expect(valueOf(attestor, 'sls_last_quote_timestamp_seconds')).toBeGreaterThan(now - 3_600);
  expect(valueOf(attestor, 'sls_attestation_key_expiry_timestamp_seconds')).toBeGreaterThan(now);
  for (const program of ['signup', 'login'] as const) {
    const text = await scrape(program);
    expect(text).toMatch(/^sls_password_queue_length 0$/m);
    expect(text).toMatch(/^sls_database_waiting 0$/m);
    expect(valueOf(text, 'sls_database_connections')).toBeGreaterThanOrEqual(0);
  }
});

test('there is no user, no address, no node, no id in it, and no label that a caller chooses', async () => {
  const { user, workloadUid } = services.session.enclave;
  for (const program of PROGRAMS) {
    const text = await scrape(program);
    for (const secret of [
      'lovelace',
      user,
      workloadUid,
      services.session.accessToken,
      'localhost',
      '127.0.0.1',
      machine.folder,
      PASSWORD,
    ])
      expect({ program, secret, found: text.includes(secret) }).toEqual({ program, secret, found: false });
    const own = text
      .split('\n')
      .filter((line) => line.startsWith('sls_'))
      .join('\n');
    expect(own).not.toMatch(/[0-9a-f]{8}-[0-9a-f]{4}/);
    expect(
      [...new Set(labels(own).map(([name]) => name))].filter(
        (name) => !['method', 'code', 'result', 'le'].includes(name),
      ),
    ).toEqual([]);
    expect(labels(own).filter(([name, value]) => name === 'method' && !Object.hasOwn(RULES, value))).toEqual([]);
  }
});

test('hundreds of made-up methods and trace contexts make no new series', async () => {
  const series = async (): Promise<number> =>
    (await scrape('login')).split('\n').filter((line) => line.startsWith('sls_rpc')).length;
  await services.call('/licensing.v1.LoginService/GetTokenKeys', Buffer.alloc(0));
  const before = await series();
  const { ports } = JSON.parse(services.file('installation.json')) as { ports: { login: number } };
  const client = new Client(
    `localhost:${ports.login}`,
    credentials.createSsl(Buffer.from(services.file('keys', 'server-ca.crt'))),
  );
  try {
    for (let i = 0; i < 300; i++) {
      const metadata = new Metadata();
      metadata.set('x-user', `user-${i}`);
      await callAt(
        client,
        (i % 2 ? `/licensing.v1.LoginService/Login${i}` : `/made.Up${i}/Method`) as '/licensing.v1.LoginService/Login',
        Buffer.alloc(0),
        metadata,
      );
    }
    await callAt(client, '/licensing.v1.LoginService/GetTokenKeys', Buffer.alloc(0));
  } finally {
    client.close();
  }
  expect(await series()).toBe(before);
});

test('an enclave has no metrics: it listens for its service and its TLS, and nowhere else', () => {
  const pid = machine.pidOf('enclave.cjs');
  const sockets = new Set(
    readdirSync(`/proc/${pid}/fd`).map((fd) => /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]),
  );
  const listening = ['tcp', 'tcp6']
    .flatMap((table) => readFileSync(`/proc/${pid}/net/${table}`, 'utf8').trim().split('\n').slice(1))
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state, , , , , , inode]) => state === '0A' && sockets.has(inode));
  expect(listening).toHaveLength(2);
});
