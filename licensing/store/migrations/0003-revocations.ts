import type { Migration } from '../migrate';

/**
 * What is trusted no longer: nodes by name, attestation and endorsement keys by the SHA-256 of their TPMT_PUBLIC in hex, users by id.
 * Proofs of administrators' calls are kept for as long as they could be shown again.
 */
export const revocations: Migration = {
  name: '0003-revocations',
  sql: `
    CREATE TABLE revocations (
      kind text NOT NULL CHECK (kind IN ('node', 'ak', 'ek', 'user')),
      subject text NOT NULL,
      revoked_at timestamptz NOT NULL DEFAULT now(),
      revoked_by text NOT NULL,
      reason text NOT NULL,
      PRIMARY KEY (kind, subject)
    );
    CREATE TABLE admin_proofs (
      jti uuid PRIMARY KEY,
      expires_at timestamptz NOT NULL
    );
    CREATE INDEX admin_proofs_expires_at ON admin_proofs (expires_at)`,
};
