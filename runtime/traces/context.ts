import { randomBytes } from 'node:crypto';

/** Where in a trace something happens (W3C Trace Context, https://www.w3.org/TR/trace-context/). */
export interface TraceContext {
  /** 16 bytes, hex. */
  traceId: string;
  /** 8 bytes, hex. */
  spanId: string;
  /** Whoever made it keeps a record of it. Another one's word for it is taken for nothing: see Exporter. */
  sampled: boolean;
}

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
/** As much as any version may have that we can read; what is longer is not worth parsing. */
const MAX_LENGTH = 128;
const NO_TRACE = '0'.repeat(32);
const NO_SPAN = '0'.repeat(16);

/** Reads a traceparent (3.2); undefined for anything that is none, which is then as if there were nothing. */
export function parseTraceparent(text: unknown): TraceContext | undefined {
  if (typeof text !== 'string' || text.length > MAX_LENGTH) return undefined;
  const [, version, traceId = '', spanId = '', flags = '', rest] = TRACEPARENT.exec(text) ?? [];
  // Version ff is none; the one that we know has nothing more, later ones may (3.2.4).
  if (version === undefined || version === 'ff' || (version === '00' && rest !== undefined)) return undefined;
  if (traceId === NO_TRACE || spanId === NO_SPAN) return undefined;
  return { traceId, spanId, sampled: (parseInt(flags, 16) & 1) === 1 };
}

export function formatTraceparent({ traceId, spanId, sampled }: TraceContext): string {
  return `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`;
}

/** A place of its own below `parent`, or at the start of a new trace. */
export function newContext(parent: TraceContext | undefined, sampled: boolean): TraceContext {
  return {
    traceId: parent?.traceId ?? randomBytes(16).toString('hex'),
    spanId: randomBytes(8).toString('hex'),
    sampled,
  };
}
