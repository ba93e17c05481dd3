import type { Migration } from '../migrate';

/**
 * Seats: running attested sessions. One counts until `expires_at`, which heartbeats move on, unless it was freed before. A row stays for a day after
 * that, so that evidence of a session that is over takes no other seat. `licence_id` says whose seats it counts among: the licence's or, without one,
 * the account's own.
 */
export const seats: Migration = {
  name: '0008-seats',
  sql: `
    CREATE TABLE seats (
      id uuid PRIMARY KEY,
      user_id uuid NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
      session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
      licence_id uuid REFERENCES licences (id) ON DELETE SET NULL,
      tls_exporter bytea NOT NULL UNIQUE,
      enclave_key bytea NOT NULL,
      enclave text NOT NULL,
      workload_uid text NOT NULL,
      node text NOT NULL,
      taken_at timestamptz NOT NULL,
      renewed_at timestamptz NOT NULL,
      heartbeat_ms bigint NOT NULL DEFAULT 0,
      expires_at timestamptz NOT NULL,
      freed_at timestamptz
    );
    CREATE INDEX seats_user_id ON seats (user_id);
    CREATE INDEX seats_licence_id ON seats (licence_id)`,
};
