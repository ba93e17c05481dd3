import type { Migration } from '../migrate';

/**
 * Which installation this database is of: an id that it is born with and that a backup carries. What deletes by absence compares it with the id beside
 * the objects first, so that an empty database, or another installation's, is never taken for "all users are gone".
 * `orphans` are objects of a cluster that no row speaks for, since when, by their uid. `orphan_permits` holds an administrator's word that more of them
 * may go at once than a small share.
 */
export const installation: Migration = {
  name: '0018-installation',
  sql: `
    CREATE TABLE installation (
      single boolean PRIMARY KEY DEFAULT true CHECK (single),
      id uuid NOT NULL DEFAULT gen_random_uuid()
    );
    INSERT INTO installation DEFAULT VALUES;
    CREATE TABLE orphans (
      uid text PRIMARY KEY,
      kind text NOT NULL,
      object text NOT NULL,
      user_id text NOT NULL,
      enclave text,
      since timestamptz NOT NULL
    );
    CREATE TABLE orphan_permits (
      single boolean PRIMARY KEY DEFAULT true CHECK (single),
      objects integer NOT NULL CHECK (objects > 0),
      until timestamptz NOT NULL,
      administrator text NOT NULL
    )`,
};
