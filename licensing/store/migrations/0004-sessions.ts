import type { Migration } from '../migrate';

/**
 * Sessions of users, and the refresh tokens of each, by SHA-256. A token that was used stays, with the time of its use, for as long as its
 * session: one that comes back is known for what it is.
 */
export const sessions: Migration = {
  name: '0004-sessions',
  sql: `
    CREATE TABLE sessions (
      id uuid PRIMARY KEY,
      user_id uuid NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
      created_at timestamptz NOT NULL DEFAULT now(),
      authenticated_at timestamptz NOT NULL,
      last_used_at timestamptz NOT NULL DEFAULT now(),
      expires_at timestamptz NOT NULL,
      certified_until timestamptz,
      client_name text NOT NULL,
      client_address text NOT NULL,
      revoked_at timestamptz,
      revoked_because text
    );
    CREATE INDEX sessions_user_id ON sessions (user_id);
    CREATE INDEX sessions_revoked_at ON sessions (revoked_at) WHERE revoked_at IS NOT NULL;
    CREATE TABLE refresh_tokens (
      sha256 bytea PRIMARY KEY,
      session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
      issued_at timestamptz NOT NULL DEFAULT now(),
      used_at timestamptz
    );
    CREATE INDEX refresh_tokens_session_id ON refresh_tokens (session_id)`,
};
