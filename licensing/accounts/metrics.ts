import type { Metrics } from '../../runtime/metrics/metrics';
import { watchDatabase } from '../store/metrics';
import type { AccountBackend } from './backend';

/** What an operator looks at when logins are slow. */
export function watchBackend(
  metrics: Metrics,
  { hasher, database }: Pick<AccountBackend, 'hasher' | 'database'>,
): void {
  metrics.gauge('sls_password_queue_length', 'Passwords that wait for a thread to be hashed', () => hasher.waiting);
  watchDatabase(metrics, database);
}
