import { Metadata } from '@grpc/grpc-js';
import type { StatusObject } from '@grpc/grpc-js';
import { formatTraceparent, parseTraceparent } from '../traces/context';
import type { TraceContext } from '../traces/context';
import { Span } from '../traces/span';
import { KIND } from '../traces/record';
import { announce } from './protocol';
import './grpc-log';
import './strict-text';

/** Metadata that carries the trace, as over HTTP (W3C Trace Context, 3.2). Its tracestate is not passed on: nothing here adds to one. */
const TRACEPARENT_KEY = 'traceparent';

/** Where the caller is in a trace; undefined where it doesn't say, or not clearly. */
export function traceOf(metadata: Metadata): TraceContext | undefined {
  const values = metadata.get(TRACEPARENT_KEY);
  return values.length === 1 ? parseTraceparent(values[0]) : undefined;
}

/** A call to another service, as a span of its own: `metadata` goes with it. */
export class TracedCall {
  readonly metadata: Metadata;
  private readonly span: Span;

  constructor(
    private readonly method: string,
    metadata = new Metadata(),
  ) {
    this.span = new Span({ name: method, kind: KIND.client });
    this.metadata = metadata.clone();
    this.metadata.set(TRACEPARENT_KEY, formatTraceparent(this.span.context));
    announce(this.metadata);
  }

  /** Ends the span with the call. */
  follow<Call extends { on(event: 'status', listener: (status: StatusObject) => void): unknown }>(call: Call): Call {
    call.on('status', ({ code }) => {
      const { span, method } = this;
      span.end(code);
      span.run(() => span.tracer?.log.debug({ method, grpcStatus: code, ms: Math.round(span.milliseconds) }, 'called'));
    });
    return call;
  }
}
