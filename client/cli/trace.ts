import { ConfigError, readEnvironment } from '../../runtime/config/environment';
import { parseTraceparent } from '../../runtime/traces/context';
import { openExporter, tracesSettings } from '../../runtime/traces/settings';
import { withSpan } from '../../runtime/traces/span';
import type { Exporter } from '../../runtime/traces/export';
import { CliError, EXIT } from './exit';
import { openLog } from './log';
import { KIND } from '../../runtime/traces/record';
import type { Tracer } from '../../runtime/traces/tracer';

/** A collector that is away does not hold a command up for longer. */
const FLUSH_MS = 1_000;

/**
 * Runs a command as one span: what the services do for it carries its trace. TRACEPARENT puts it into a trace that somebody else has begun, and
 * OTEL_EXPORTER_OTLP_ENDPOINT is where its spans go.
 * @throws CliError 2 for a setting that is wrong
 */
export async function traced(command: (tracer: Tracer) => Promise<unknown>): Promise<void> {
  const exporter = open();
  const tracer: Tracer = { exporter, log: openLog().log };
  try {
    await withSpan(
      { name: 'sls', kind: KIND.internal, parent: parseTraceparent(process.env['TRACEPARENT']) ?? null, tracer },
      () => command(tracer),
    );
  } finally {
    await Promise.race([exporter?.flush(), new Promise((resolve) => setTimeout(resolve, FLUSH_MS).unref())]);
  }
}

function open(): Exporter | undefined {
  try {
    return openExporter(readEnvironment(tracesSettings), 'sls');
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new CliError(EXIT.usage, error.message, {}, { cause: error });
  }
}
