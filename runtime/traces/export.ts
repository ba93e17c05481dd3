import { systemClock } from '../clock';
import type { Clock, Timer } from '../clock';
import type { SpanRecord } from './record';

interface ExporterOptions {
  /** Base of OTLP/HTTP, such as http://127.0.0.1:4318: /v1/traces comes behind it. */
  endpoint: string;
  /** Name of this program: service.name. */
  service: string;
  /** Traces that begin here, or come from outside, in a second. More of them go on without a record. */
  tracesPerSecond: number;
  /** The system's, unless told. */
  clock?: Clock;
}

const MAX_QUEUED_SPANS = 2_048;
const BATCH = 512;
const DELAY_MS = 1_000;
const POST_MS = 5_000;

const text = (key: string, stringValue: string): object => ({ key, value: { stringValue } });
const number = (key: string, intValue: number): object => ({ key, value: { intValue } });
/** Unix nanoseconds in decimal, as the JSON form of a fixed64 (OTLP, "JSON Protobuf Encoding"). */
const nanoseconds = (ms: number): string => String(BigInt(Math.round(ms * 1_000)) * 1_000n);

/**
 * Sends spans to a collector by OTLP/HTTP in JSON (https://opentelemetry.io/docs/specs/otlp/), a few at a time. It keeps no program running and none waiting: what a collector
 * does not take is dropped. How much is recorded is for its own limit alone to say, whatever callers set in their traceparent.
 */
export class Exporter {
  private queue: SpanRecord[] = [];
  private timer: Timer | undefined;
  private sending: Promise<void> = Promise.resolve();
  private tokens: number;
  private readonly clock: Clock;
  private filledAt: number;

  constructor(private readonly options: ExporterOptions) {
    this.clock = options.clock ?? systemClock;
    this.tokens = options.tracesPerSecond;
    this.filledAt = this.clock.monotonic();
  }

  /** True for as many traces a second as there may be. */
  admits(): boolean {
    const { tracesPerSecond } = this.options;
    const now = this.clock.monotonic();
    this.tokens = Math.min(tracesPerSecond, this.tokens + ((now - this.filledAt) / 1_000) * tracesPerSecond);
    this.filledAt = now;
    if (this.tokens < 1) return false;
    this.tokens -= 1;
    return true;
  }

  add(span: SpanRecord): void {
    if (this.queue.length >= MAX_QUEUED_SPANS) return;
    this.queue.push(span);
    this.timer ??= this.clock.after(DELAY_MS, () => void this.flush());
  }

  /** Sends what there is. Never fails. */
  flush(): Promise<void> {
    this.timer?.cancel();
    this.timer = undefined;
    this.sending = this.sending.then(async () => {
      while (this.queue.length > 0) {
        const sent = await this.post(this.queue.splice(0, BATCH));
        // One that is away is not waited for again by the rest.
        if (!sent) this.queue = [];
      }
    });
    return this.sending;
  }

  private async post(spans: SpanRecord[]): Promise<boolean> {
    const { endpoint, service } = this.options;
    const body = {
      resourceSpans: [
        {
          resource: { attributes: [text('service.name', service)] },
          scopeSpans: [{ scope: { name: 'sls' }, spans: spans.map(toOtlp) }],
        },
      ],
    };
    const giveUp = new AbortController();
    const timer = this.clock.after(POST_MS, () => giveUp.abort());
    try {
      const answer = await fetch(`${endpoint.replace(/\/+$/, '')}/v1/traces`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
        signal: giveUp.signal,
      });
      await answer.body?.cancel();
      return answer.ok;
    } catch {
      return false;
    } finally {
      timer.cancel();
    }
  }
}

function toOtlp({ name, kind, context, parentSpanId, startedAt, endedAt, grpcStatus }: SpanRecord): object {
  const [, service, method] = /^\/([^/]+)\/([^/]+)$/.exec(name) ?? [];
  return {
    traceId: context.traceId,
    spanId: context.spanId,
    ...(parentSpanId !== undefined && { parentSpanId }),
    name: name.replace(/^\//, ''),
    kind,
    startTimeUnixNano: nanoseconds(startedAt),
    endTimeUnixNano: nanoseconds(endedAt),
    attributes: [
      ...(service !== undefined && method !== undefined
        ? [text('rpc.system', 'grpc'), text('rpc.service', service), text('rpc.method', method)]
        : []),
      ...(grpcStatus === undefined ? [] : [number('rpc.grpc.status_code', grpcStatus)]),
    ],
    // STATUS_CODE_ERROR.
    status: grpcStatus === undefined || grpcStatus === 0 ? {} : { code: 2 },
  };
}
