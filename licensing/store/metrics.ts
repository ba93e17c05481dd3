import type { Metrics } from '../../runtime/metrics/metrics';
import type { Database } from './database';

export function watchDatabase(metrics: Metrics, database: Pick<Database, 'use'>): void {
  metrics.gauge(
    'sls_database_connections',
    'Connections that are open to the database',
    () => database.use().connections,
  );
  metrics.gauge(
    'sls_database_connections_idle',
    'Connections to the database that nobody uses',
    () => database.use().idle,
  );
  metrics.gauge(
    'sls_database_waiting',
    'Statements that wait for a connection to the database',
    () => database.use().waiting,
  );
}
