import type { TraceContext } from './context';

/** SpanKind of OTLP (opentelemetry/proto/trace/v1/trace.proto). */
export const KIND = { internal: 1, server: 2, client: 3 } as const;

/** What is kept of something that took time. */
export interface SpanRecord {
  name: string;
  kind: (typeof KIND)[keyof typeof KIND];
  context: TraceContext;
  parentSpanId: string | undefined;
  /** Unix milliseconds. */
  startedAt: number;
  endedAt: number;
  /** gRPC status, of calls. */
  grpcStatus: number | undefined;
}
