import type { Migration } from '../migrate';

/**
 * Second factors: the authenticator's secret, encrypted (licensing/second-factor/keys.ts), and the last time step whose code was taken. Without `enabled_at`
 * it was never confirmed. Recovery codes by SHA-256; a used one stays, so that it can be counted.
 */
export const secondFactor: Migration = {
  name: '0010-second-factor',
  sql: `
    CREATE TABLE second_factors (
      user_id uuid PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
      secret text NOT NULL,
      begun_at timestamptz NOT NULL DEFAULT now(),
      enabled_at timestamptz,
      last_step bigint NOT NULL DEFAULT 0
    );
    CREATE TABLE recovery_codes (
      user_id uuid NOT NULL REFERENCES second_factors (user_id) ON DELETE CASCADE,
      sha256 bytea NOT NULL,
      used_at timestamptz,
      PRIMARY KEY (user_id, sha256)
    )`,
};
