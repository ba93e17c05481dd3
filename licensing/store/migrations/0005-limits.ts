import type { Migration } from '../migrate';

/** What has lately been tried: buckets that leak, by kind and SHA-256 of what they are about, shared by all replicas. */
export const limits: Migration = {
  name: '0005-limits',
  sql: `
    CREATE TABLE limits (
      key text PRIMARY KEY,
      level double precision NOT NULL,
      at timestamptz NOT NULL,
      taken boolean NOT NULL
    );
    CREATE INDEX limits_at ON limits (at)`,
};
