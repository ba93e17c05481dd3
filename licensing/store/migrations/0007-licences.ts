import type { Migration } from '../migrate';

/**
 * Licences that were issued, without their keys, and which accounts have them. Whoever gives or takes one holds the licence's row, so that no more
 * accounts have it than it says. An account that is deleted gives its licences back.
 */
export const licences: Migration = {
  name: '0007-licences',
  sql: `
    CREATE TABLE licences (
      id uuid PRIMARY KEY,
      plan text NOT NULL,
      images jsonb,
      enclaves integer NOT NULL CHECK (enclaves > 0),
      seats integer NOT NULL CHECK (seats > 0),
      cpu text,
      memory text,
      valid_until timestamptz NOT NULL,
      grace_until timestamptz NOT NULL CHECK (grace_until >= valid_until),
      accounts integer NOT NULL CHECK (accounts > 0),
      issued_at timestamptz NOT NULL DEFAULT now(),
      issued_by text NOT NULL,
      reason text NOT NULL,
      revoked_at timestamptz,
      revoked_by text,
      revoked_reason text
    );
    CREATE TABLE licence_redemptions (
      licence_id uuid NOT NULL REFERENCES licences (id),
      user_id uuid NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
      redeemed_at timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (licence_id, user_id)
    );
    CREATE INDEX licence_redemptions_user_id ON licence_redemptions (user_id)`,
};
