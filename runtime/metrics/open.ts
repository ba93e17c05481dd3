import { z } from 'zod';
import type { Metrics } from './metrics';

/** Settings of every program that has metrics: spread into its schema. */
export const metricsSettings = {
  /** GET /metrics over HTTP, for Prometheus. Without it there is nothing to scrape. Not 9090 or 9091 in a Knative Service: queue-proxy has these. */
  METRICS_PORT: z.coerce.number().int().min(1).max(65_535).optional(),
  METRICS_HOST: z.string().min(1).default('0.0.0.0'),
};

/** Serves the program's metrics where the settings want it. Loaded when it is wanted: a start from zero pays for nothing else. */
export async function openMetrics(settings: {
  METRICS_PORT?: number;
  METRICS_HOST: string;
}): Promise<Metrics | undefined> {
  if (settings.METRICS_PORT === undefined) return undefined;
  const { Metrics } = await import('./metrics');
  const metrics = new Metrics();
  await metrics.serve(settings.METRICS_PORT, settings.METRICS_HOST);
  return metrics;
}
