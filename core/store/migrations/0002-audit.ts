import type { Migration } from '../migrate';

/** Decisions about who is trusted: written once, changed never. */
export const audit: Migration = {
  name: '0002-audit',
  sql: `
    CREATE TABLE audit (
      id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
      at timestamptz NOT NULL DEFAULT now(),
      actor text NOT NULL,
      action text NOT NULL,
      subject text NOT NULL,
      details jsonb NOT NULL
    )`,
};
