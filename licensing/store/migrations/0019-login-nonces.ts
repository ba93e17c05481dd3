import type { Migration } from '../migrate';

/** Nonces that a user's logins were for, so that a login that is sent again is none. Kept for a day, or as long as the account. */
export const loginNonces: Migration = {
  name: '0019-login-nonces',
  sql: `
    CREATE TABLE login_nonces (
      user_id uuid NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
      nonce_sha256 bytea NOT NULL,
      expires_at timestamptz NOT NULL,
      PRIMARY KEY (user_id, nonce_sha256)
    );
    CREATE INDEX login_nonces_expires_at ON login_nonces (expires_at)`,
};
