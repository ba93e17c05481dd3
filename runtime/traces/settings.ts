import { z } from 'zod';
import { Exporter } from './export';

/** Settings of every program. The first name is OpenTelemetry's own. */
export const tracesSettings = z.object({
  /** Base of OTLP/HTTP, such as http://otel-collector:4318. Without it nothing is sent. */
  OTEL_EXPORTER_OTLP_ENDPOINT: z.url({ protocol: /^https?$/ }).optional(),
  TRACES_PER_SECOND: z.coerce.number().min(0).max(10_000).default(20),
});

/** Sends spans where the settings want it; undefined where they want none. */
export function openExporter(settings: z.infer<typeof tracesSettings>, service: string): Exporter | undefined {
  const { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, TRACES_PER_SECOND: tracesPerSecond } = settings;
  return endpoint === undefined ? undefined : new Exporter({ endpoint, service, tracesPerSecond });
}
