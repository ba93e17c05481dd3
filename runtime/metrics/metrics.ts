import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { CallEnd, CallObserver } from './calls';

/** Distinct values of a label at most: what comes after counts as "other", wherever it comes from. */
const MAX_LABEL_VALUES = 100;
const LABEL_VALUE = /^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?$/;
/** Seconds: from a look into memory to the first start of an enclave. */
const CALL_BUCKETS = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120];

/** What a program counts, in the text format of Prometheus. Nothing here has a user, an address or a node in it. */
export class Metrics implements CallObserver {
  private readonly registry = new Registry();
  private readonly calls: Counter<'method' | 'code'>;
  private readonly duration: Histogram<'method'>;
  private readonly inFlight: Gauge<'method'>;
  private server: Server | undefined;

  constructor() {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    this.calls = new Counter({
      name: 'sls_rpc_calls_total',
      help: 'Calls that have ended, by method and gRPC status',
      labelNames: ['method', 'code'],
      registers,
    });
    this.duration = new Histogram({
      name: 'sls_rpc_duration_seconds',
      help: 'How long calls took, streams included',
      labelNames: ['method'],
      buckets: CALL_BUCKETS,
      registers,
    });
    this.inFlight = new Gauge({
      name: 'sls_rpc_in_flight',
      help: 'Calls that have not ended',
      labelNames: ['method'],
      registers,
    });
  }

  began(method: string): void {
    this.inFlight.inc({ method });
  }

  ended(method: string, { code, seconds }: CallEnd): void {
    this.inFlight.dec({ method });
    this.calls.inc({ method, code });
    this.duration.observe({ method }, seconds);
  }

  /** A number that is looked at when somebody asks. */
  gauge(name: string, help: string, read: () => number): void {
    new Gauge({
      name,
      help,
      registers: [this.registry],
      collect() {
        this.set(read());
      },
    });
  }

  /** @returns takes one value */
  histogram(name: string, help: string, buckets: number[]): (value: number) => void {
    const histogram = new Histogram({ name, help, buckets, registers: [this.registry] });
    return (value) => histogram.observe(value);
  }

  /** @returns counts one of these: a word, or two with a dot */
  counter<Label extends string>(name: string, help: string, label: Label): (value: string) => void {
    const counter = new Counter({ name, help, labelNames: [label], registers: [this.registry] });
    const seen = new Set<string>();
    return (value) => {
      const fits = LABEL_VALUE.test(value) && (seen.has(value) || seen.size < MAX_LABEL_VALUES);
      if (fits) seen.add(value);
      counter.inc({ [label]: fits ? value : 'other' } as Record<Label, string>);
    };
  }

  /** GET /metrics, and nothing else. @returns the port that was bound */
  async serve(port: number, host: string): Promise<number> {
    const server = createServer((request, response) => {
      if (request.method !== 'GET' || request.url?.split('?')[0] !== '/metrics') {
        response.writeHead(404).end();
        return;
      }
      this.registry.metrics().then(
        (text) => response.writeHead(200, { 'content-type': this.registry.contentType }).end(text),
        () => response.writeHead(500).end(),
      );
    });
    // A scrape is a request of one line; whoever keeps a connection for more is none.
    server.maxConnections = 32;
    server.requestTimeout = 10_000;
    server.headersTimeout = 5_000;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, host, resolve);
    });
    // The programs' own servers keep them running.
    server.unref();
    this.server = server;
    return (server.address() as { port: number }).port;
  }

  close(): void {
    this.server?.close();
    this.server?.closeAllConnections();
  }
}
