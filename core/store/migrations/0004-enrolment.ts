import type { Migration } from '../migrate';

/**
 * Which TPM a node's name belongs to, by the SHA-256 of its EK's TPMT_PUBLIC in hex; and challenges that were answered, kept for as long as they
 * could be answered again.
 */
export const enrolment: Migration = {
  name: '0004-enrolment',
  sql: `
    CREATE TABLE nodes (
      node text PRIMARY KEY,
      ek_sha256 text NOT NULL,
      ak_sha256 text NOT NULL,
      tpm jsonb NOT NULL,
      bound_at timestamptz NOT NULL DEFAULT now(),
      enrolled_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE TABLE enrolment_challenges (
      jti uuid PRIMARY KEY,
      expires_at timestamptz NOT NULL
    );
    CREATE INDEX enrolment_challenges_expires_at ON enrolment_challenges (expires_at)`,
};
