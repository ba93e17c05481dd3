import type { Clock } from '../runtime/clock';
import type { Metrics } from '../runtime/metrics/metrics';

/** Seconds: software TPMs sign in tens of milliseconds, real ones take up to one. */
const QUOTE_BUCKETS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2, 5, 10];
const BATCH_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096];

/** @returns takes the seconds of a quote and the number of requests that it answers */
export function countQuotes(metrics: Metrics, clock: Clock): (seconds: number, requests: number) => void {
  let last = 0;
  metrics.gauge('sls_last_quote_timestamp_seconds', 'Unix time of the last quote; 0: none yet', () => last);
  const duration = metrics.histogram('sls_quote_duration_seconds', 'How long the TPM took for a quote', QUOTE_BUCKETS);
  const batch = metrics.histogram('sls_quote_requests', 'Requests that one quote answered', BATCH_BUCKETS);
  return (seconds, requests) => {
    last = clock.now() / 1000;
    duration(seconds);
    batch(requests);
  };
}

/** @param expiry when the certificate of the attestation key ends; undefined while there is none */
export function watchAttestationKey(metrics: Metrics, expiry: () => Date | undefined): void {
  metrics.gauge(
    'sls_attestation_key_expiry_timestamp_seconds',
    "Unix time at which the attestation key's certificate ends; 0: there is none",
    () => (expiry()?.getTime() ?? 0) / 1000,
  );
}
