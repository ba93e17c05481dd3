import { currentContext, newContext, runIn } from './context';
import type { TraceContext } from './context';
import type { Exporter } from './export';
import type { SpanRecord } from './record';
import { systemClock } from '../clock';

let exporter: Exporter | undefined;

/** Where records go from now on; without one, there are places in traces for logs and for others, and no records. */
export function exportSpans(to: Exporter | undefined): void {
  exporter = to;
}

interface SpanOptions {
  name: string;
  kind: SpanRecord['kind'];
  /** Of another process; null: of none, a trace begins; left out: where the caller is. */
  parent?: TraceContext | null;
}

/** Something that takes time. */
export class Span {
  readonly context: TraceContext;
  private readonly startedAt = systemClock.now();
  private readonly began = performance.now();
  private readonly parent: TraceContext | undefined;
  private ended = false;

  constructor(private readonly options: SpanOptions) {
    const here = options.parent === undefined ? currentContext() : undefined;
    this.parent = here ?? options.parent ?? undefined;
    // What begins inside of something is recorded with it. Where another process or nobody began it, this one's own limit decides.
    this.context = newContext(this.parent, here ? here.sampled : (exporter?.admits() ?? false));
  }

  end(grpcStatus?: number): void {
    if (this.ended) return;
    this.ended = true;
    if (!this.context.sampled) return;
    const { name, kind } = this.options;
    const endedAt = this.startedAt + (performance.now() - this.began);
    exporter?.add({
      name,
      kind,
      context: this.context,
      parentSpanId: this.parent?.spanId,
      startedAt: this.startedAt,
      endedAt,
      grpcStatus,
    });
  }

  /** Does work at this place. */
  run<T>(work: () => T): T {
    return runIn(this.context, work);
  }
}

/** Does work as a span of its own. */
export async function withSpan<T>(options: SpanOptions, work: () => Promise<T>): Promise<T> {
  const span = new Span(options);
  try {
    return await span.run(work);
  } finally {
    span.end();
  }
}
