import type { Migration } from '../migrate';

/** Users and what their password hashes to. Usernames are stored normalized: see licensing/accounts/username.ts. */
export const accounts: Migration = {
  name: '0001-accounts',
  sql: `
    CREATE TABLE accounts (
      id uuid PRIMARY KEY,
      username text NOT NULL UNIQUE CHECK (username ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
      password_hash text NOT NULL,
      created_at timestamptz NOT NULL DEFAULT now()
    )`,
};
