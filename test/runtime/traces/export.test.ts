import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { credentials, Metadata } from '@grpc/grpc-js';
import { callUnary } from '../../../runtime/rpc/client';
import { unary } from '../../../runtime/rpc/handlers';
import { startServer } from '../../../runtime/rpc/server';
import type { RunningServer } from '../../../runtime/rpc/server';
import { Exporter } from '../../../runtime/traces/export';
import { KIND } from '../../../runtime/traces/record';
import { withSpan } from '../../../runtime/traces/span';
import type { Tracer } from '../../../runtime/traces/tracer';
import { silent } from '../../../runtime/log/log';
import { TestClock } from '../../support/clock';
import { TrustServiceClient, TrustServiceService } from '../../../proto/gen/licensing/v1/trust';
import { startCollector } from '../../support/otlp';

let collector: Awaited<ReturnType<typeof startCollector>>;
let server: RunningServer;
let client: TrustServiceClient;
/** Of the server; each test chooses where its spans go. */
const tracer: Tracer = { log: silent };
beforeAll(async () => {
  collector = await startCollector();
  const implementation = {
    getTrustBundle: unary(() => Promise.resolve({ bundle: '' })),
    getRevocations: unary(() => Promise.reject(new Error('out of order'))),
  };
  server = await startServer({
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    services: [{ definition: TrustServiceService, implementation }],
    tracer,
  });
  client = new TrustServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
});
afterEach(() => {
  tracer.exporter = undefined;
  collector.spans.length = 0;
});
afterAll(async () => {
  client.close();
  await server.stop(0);
  await collector.stop();
});

/** As an attacker sets it: a trace of its own for each call, and the wish that all be recorded. */
function sampled(i: number): Metadata {
  const metadata = new Metadata();
  metadata.set('traceparent', `00-${String(i + 1).padStart(32, '0')}-${'1'.padStart(16, '0')}-01`);
  return metadata;
}

/** Calls without this process's own spans of the calling side. */
function call(i: number): Promise<void> {
  return new Promise((resolve, reject) =>
    client.getTrustBundle({}, sampled(i), (error) => (error ? reject(error) : resolve())),
  );
}

test('callers who want everything recorded get as much as the limit allows', async () => {
  const clock = new TestClock();
  const exporter = new Exporter({ endpoint: collector.url, service: 'test', tracesPerSecond: 5, clock });
  tracer.exporter = exporter;
  for (let i = 0; i < 100; i++) await call(i);
  await exporter.flush();
  expect(collector.spans).toHaveLength(5);
  await clock.advance(600);
  for (let i = 0; i < 100; i++) await call(i);
  await exporter.flush();
  expect(collector.spans).toHaveLength(8);
});

test('what is recorded is sent a second later', async () => {
  const clock = new TestClock();
  tracer.exporter = new Exporter({ endpoint: collector.url, service: 'test', tracesPerSecond: 5, clock });
  await call(1);
  expect(clock.waits).toEqual([1_000]);
  await clock.advance(1_000);
  await tracer.exporter.flush();
  expect(collector.spans).toHaveLength(1);
});

test('none is none', async () => {
  const exporter = new Exporter({ endpoint: collector.url, service: 'test', tracesPerSecond: 0 });
  tracer.exporter = exporter;
  for (let i = 0; i < 20; i++) await call(i);
  await exporter.flush();
  expect(collector.spans).toEqual([]);
});

test('a call that fails says so', async () => {
  const exporter = new Exporter({ endpoint: collector.url, service: 'test', tracesPerSecond: 100 });
  tracer.exporter = exporter;
  const calling = { name: 'test', kind: KIND.internal, parent: null, tracer };
  await expect(
    withSpan(calling, () => callUnary(client, client.getRevocations, {}, { timeout: 120_000 })),
  ).rejects.toMatchObject({ code: 'internal' });
  await exporter.flush();
  const [first, second] = [...collector.spans].sort((a, b) => b.kind - a.kind);
  expect(first).toMatchObject({
    kind: 3,
    name: 'licensing.v1.TrustService/GetRevocations',
    status: { code: 2 },
    attributes: { 'rpc.grpc.status_code': 13 },
  });
  expect(second).toMatchObject({ kind: 2, traceId: first?.traceId, parentSpanId: first?.spanId, status: { code: 2 } });
  expect(collector.raw()).not.toContain('out of order');
});

test('a collector that does not answer is given up', async () => {
  const silentCollector = createServer();
  await once(silentCollector.listen(0, '127.0.0.1'), 'listening');
  const clock = new TestClock();
  const endpoint = `http://127.0.0.1:${(silentCollector.address() as AddressInfo).port}`;
  tracer.exporter = new Exporter({ endpoint, service: 'test', tracesPerSecond: 5, clock });
  await call(1);
  const asked = once(silentCollector, 'request');
  const flushed = tracer.exporter.flush();
  await asked;
  expect(clock.waits).toEqual([5_000]);
  await clock.advance(5_000);
  await flushed;
  silentCollector.close();
});

test('a collector that refuses, or is gone, costs what was to be sent and nothing else', async () => {
  for (const endpoint of [`${collector.url}/nowhere`, 'http://127.0.0.1:9']) {
    const exporter = new Exporter({ endpoint, service: 'test', tracesPerSecond: 1_000 });
    tracer.exporter = exporter;
    for (let i = 0; i < 100; i++) await call(i);
    await exporter.flush();
    await exporter.flush();
  }
  expect(collector.spans).toEqual([]);
});
