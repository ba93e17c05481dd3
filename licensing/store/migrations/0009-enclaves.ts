import type { Migration } from '../migrate';

/**
 * Users' enclaves by name: a row is there from the first login to one until it is deleted, whether it runs or not. `deleting_at` is set while
 * what it is made of is being removed. Of users who were deleted their ids stay until their enclaves are gone and nothing that was certified
 * for them is good any more.
 */
export const enclaves: Migration = {
  name: '0009-enclaves',
  sql: `
    CREATE TABLE enclaves (
      user_id uuid NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
      name text NOT NULL CHECK (name ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
      created_at timestamptz NOT NULL DEFAULT now(),
      last_used_at timestamptz NOT NULL DEFAULT now(),
      deleting_at timestamptz,
      PRIMARY KEY (user_id, name)
    );
    CREATE INDEX enclaves_deleting_at ON enclaves (deleting_at) WHERE deleting_at IS NOT NULL;
    CREATE TABLE deleted_users (
      user_id uuid PRIMARY KEY,
      deleted_at timestamptz NOT NULL DEFAULT now(),
      enclaves_removed_at timestamptz
    )`,
};
