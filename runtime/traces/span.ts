import { newContext } from './context';
import type { TraceContext } from './context';
import { currentPlace, runAt } from './place';
import type { Place } from './place';
import type { SpanRecord } from './record';
import type { Tracer } from './tracer';
import { systemClock } from '../clock';

interface SpanOptions {
  name: string;
  kind: SpanRecord['kind'];
  /** Of another process; null: of none, a trace begins; left out: where the caller is. */
  parent?: TraceContext | null;
  /** Where it is recorded; left out: where the caller's spans are, and nowhere where the caller is in no trace. */
  tracer?: Tracer | undefined;
}

/** Something that takes time. */
export class Span implements Place {
  readonly context: TraceContext;
  private readonly startedAt = systemClock.now();
  private readonly began = systemClock.monotonic();
  private readonly parent: TraceContext | undefined;
  readonly tracer: Tracer | undefined;
  private ended = false;

  constructor(private readonly options: SpanOptions) {
    const place = currentPlace();
    const here = options.parent === undefined ? place?.context : undefined;
    this.parent = here ?? options.parent ?? undefined;
    this.tracer = options.tracer ?? place?.tracer;
    // What begins inside of something is recorded with it. Where another process or nobody began it, this one's own limit decides.
    this.context = newContext(this.parent, here ? here.sampled : (this.tracer?.exporter?.admits() ?? false));
  }

  /** Since it began. */
  get milliseconds(): number {
    return systemClock.monotonic() - this.began;
  }

  end(grpcStatus?: number): void {
    if (this.ended) return;
    this.ended = true;
    if (!this.context.sampled) return;
    const { name, kind } = this.options;
    const endedAt = this.startedAt + this.milliseconds;
    this.tracer?.exporter?.add({
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
    return runAt(this, work);
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
