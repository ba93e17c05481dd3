import type { Migration } from '../migrate';

/**
 * Who users are to an OpenID provider: issuer and subject, which are one account's and go with it. Such an account may have no password. And ID tokens that
 * were used, by SHA-256 of what is signed, for as long as they could be shown again.
 */
export const oidc: Migration = {
  name: '0011-oidc',
  sql: `
    ALTER TABLE accounts ALTER COLUMN password_hash DROP NOT NULL;
    CREATE TABLE oidc_identities (
      issuer text NOT NULL,
      subject text NOT NULL,
      user_id uuid NOT NULL UNIQUE REFERENCES accounts (id) ON DELETE CASCADE,
      created_at timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (issuer, subject)
    );
    CREATE TABLE used_id_tokens (
      sha256 bytea PRIMARY KEY,
      expires_at timestamptz NOT NULL
    );
    CREATE INDEX used_id_tokens_expires_at ON used_id_tokens (expires_at)`,
};
