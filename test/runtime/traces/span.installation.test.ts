import { readFileSync } from 'node:fs';
import { Metadata } from '@grpc/grpc-js';
import { eventually } from '../../support/eventually';
import { EveryService } from '../../support/every-service';
import { Machine, PASSWORD } from '../../support/machine';
import type { ReceivedSpan } from '../../support/otlp';
import { startCollector } from '../../support/otlp';

const TRACE = 'ab'.repeat(16);
const OUTSIDE_SPAN = 'cd'.repeat(8);
const KIND = { internal: 1, server: 2, client: 3 };

let machine: Machine;
let collector: Awaited<ReturnType<typeof startCollector>>;
/** What the two commands logged. */
let said = '';
beforeAll(async () => {
  collector = await startCollector();
  machine = new Machine();
  const tracing = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, LOG_LEVEL: 'debug' };
  await machine.startService([], tracing);
  const inTrace = { ...tracing, TRACEPARENT: `00-${TRACE}-${OUTSIDE_SPAN}-01` };
  const run = async (args: string[], stdin = ''): Promise<void> => {
    const ended = await machine.sls(args, { stdin, env: inTrace });
    expect({ args, code: ended.code, stderr: ended.code === 0 ? '' : ended.stderr }).toEqual({
      args,
      code: 0,
      stderr: '',
    });
    said += ended.stderr;
  };
  await machine.sls(['signup', '--username', 'lovelace', '--password-stdin'], { stdin: `${PASSWORD}\n` });
  await run(['login']);
  await run(['exec', 'printf', 'secret-word']);
  // Programs send what they have once a second.
  await until(
    () =>
      find('attestor-daemon', KIND.server, 'AttestorService/Attest').length >= 3 &&
      find('enclave', KIND.server, 'SessionService/Exec').length >= 1,
  );
});
afterAll(async () => {
  await machine.remove();
  await collector.stop();
});

async function until(condition: () => boolean): Promise<void> {
  await eventually(
    condition,
    () => `spans, got ${JSON.stringify(collector.spans.map(({ service, name }) => `${service} ${name}`))}`,
  );
}

const find = (service: string, kind: number, name: string): ReceivedSpan[] =>
  collector.spans.filter(
    (span) => span.traceId === TRACE && span.service === service && span.kind === kind && span.name.endsWith(name),
  );

/** From a span up to where the trace came from: "service kind name". */
function ancestry(span: ReceivedSpan): string[] {
  const parent = collector.spans.find(
    ({ traceId, spanId }) => traceId === span.traceId && spanId === span.parentSpanId,
  );
  const { service, kind, name } = span;
  const own = `${service} ${kind === KIND.server ? 'serves' : kind === KIND.client ? 'calls' : 'runs'} ${name.replace('licensing.v1.', '')}`;
  return [own, ...(parent ? ancestry(parent) : [`from ${String(span.parentSpanId)}`])];
}

const log = (program: string): Array<Record<string, unknown>> =>
  readFileSync(machine.server('log', `${program}.log`), 'utf8')
    .trim()
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);

test('a login is one trace, from the command through login and enclave to the attestor', () => {
  const chains = find('attestor-daemon', KIND.server, 'AttestorService/Attest').map(ancestry);
  expect(chains).toContainEqual([
    'attestor-daemon serves AttestorService/Attest',
    'enclave calls AttestorService/Attest',
    'enclave serves EnclaveService/Attest',
    'login calls EnclaveService/Attest',
    'login serves LoginService/Login',
    'sls calls LoginService/Login',
    'sls runs sls',
    `from ${OUTSIDE_SPAN}`,
  ]);
});

test('it goes on inside the TLS of the enclave: the second quote and the command are in the trace', () => {
  expect(find('attestor-daemon', KIND.server, 'AttestorService/Attest').map(ancestry)).toContainEqual([
    'attestor-daemon serves AttestorService/Attest',
    'enclave calls AttestorService/Attest',
    'enclave serves SessionService/Attest',
    'sls calls SessionService/Attest',
    'sls runs sls',
    `from ${OUTSIDE_SPAN}`,
  ]);
  expect(find('enclave', KIND.server, 'SessionService/Exec').map(ancestry)).toEqual([
    ['enclave serves SessionService/Exec', 'sls calls SessionService/Exec', 'sls runs sls', `from ${OUTSIDE_SPAN}`],
  ]);
});

test('the start of the enclave is in it', () => {
  expect(find('sls', KIND.server, 'LauncherService/EnsureEnclave').map(ancestry)[0]).toEqual([
    'sls serves LauncherService/EnsureEnclave',
    'login calls LauncherService/EnsureEnclave',
    'login serves LoginService/Login',
    'sls calls LoginService/Login',
    'sls runs sls',
    `from ${OUTSIDE_SPAN}`,
  ]);
});

test('the logs of all four name the trace, each in its own spans', async () => {
  const client = said
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  const all = { sls: client, login: log('login'), 'attestor-daemon': log('attestor-daemon'), enclave: log('enclave') };
  for (const [service, lines] of Object.entries(all)) {
    const ids = new Set(lines.filter(({ traceId }) => traceId === TRACE).map(({ spanId }) => String(spanId)));
    expect({ service, lines: ids.size > 0 }).toEqual({ service, lines: true });
    const own = (): Set<string> =>
      new Set(
        collector.spans
          .filter((span) => span.traceId === TRACE && span.service === service)
          .map(({ spanId }) => spanId),
      );
    // A line is there at once, its span when its program sends what it has.
    await until(() => [...ids].every((id) => own().has(id)));
  }
});

test('spans say which method, how it ended and how long it took, and nothing about whom or what', () => {
  const [login] = find('login', KIND.server, 'LoginService/Login');
  expect(login).toMatchObject({
    name: 'licensing.v1.LoginService/Login',
    attributes: {
      'rpc.system': 'grpc',
      'rpc.service': 'licensing.v1.LoginService',
      'rpc.method': 'Login',
      'rpc.grpc.status_code': 0,
    },
    status: {},
  });
  expect(BigInt(login?.endTimeUnixNano ?? 0) - BigInt(login?.startTimeUnixNano ?? 0)).toBeGreaterThan(1_000_000n);
  const text = collector.raw();
  const { session } = new EveryService(machine);
  for (const secret of [
    'lovelace',
    'secret-word',
    'printf',
    session.enclave.user,
    session.enclave.workloadUid,
    session.accessToken,
  ])
    expect({ secret, found: text.includes(secret) }).toEqual({ secret, found: false });
});

test('a traceparent that is none changes nothing: the call is served, in a trace of its own', async () => {
  const services = new EveryService(machine);
  try {
    for (const value of [
      'rubbish',
      `00-${'0'.repeat(32)}-${OUTSIDE_SPAN}-01`,
      `ff-${TRACE}-${OUTSIDE_SPAN}-01`,
      `00-${'e'.repeat(32)}-${OUTSIDE_SPAN}-01-more`,
      'x'.repeat(4_000),
    ]) {
      const metadata = new Metadata();
      metadata.set('traceparent', value);
      expect(await services.call('/licensing.v1.TrustService/GetRevocations', Buffer.alloc(0), metadata)).toMatchObject(
        { code: 'OK' },
      );
    }
    await until(
      () =>
        collector.spans.filter(
          ({ service, name, parentSpanId }) =>
            service === 'login' && name.endsWith('GetRevocations') && parentSpanId === undefined,
        ).length >= 5,
    );
  } finally {
    services.close();
  }
  expect(collector.raw()).not.toContain('e'.repeat(32));
  expect(collector.raw()).not.toContain('rubbish');
});

test('a command without TRACEPARENT is a trace by itself, also where nobody collects', async () => {
  const { stderr, code } = await machine.sls(['exec', 'true'], { env: { LOG_LEVEL: 'debug' } });
  expect(code).toBe(0);
  const traces = new Set(
    stderr
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => (JSON.parse(line) as { traceId?: string }).traceId),
  );
  expect([...traces]).toEqual([expect.stringMatching(/^[0-9a-f]{32}$/)]);
  expect([...traces][0]).not.toBe(TRACE);
  expect(log('enclave').some(({ traceId }) => traces.has(String(traceId)))).toBe(true);
});

test('a collector that is away, or none at all by its address, fails nothing', async () => {
  expect(
    (await machine.sls(['exec', 'true'], { env: { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9' } })).code,
  ).toBe(0);
  const wrong = await machine.sls(['status'], { env: { OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318' } });
  expect(wrong.code).toBe(2);
  expect(wrong.stderr).toContain('OTEL_EXPORTER_OTLP_ENDPOINT');
});
