import type { Migration } from '../migrate';

/**
 * Which TPM a node's name belongs to, by the SHA-256 of its EK's TPMT_PUBLIC in hex; challenges that were answered, kept for as long as they
 * could be answered again; and the record of every decision about who is trusted.
 */
export const enrolment: Migration = {
  name: '0002-enrolment',
  sql: `
    CREATE TABLE nodes (
      node text PRIMARY KEY,
      ek_sha256 text NOT NULL,
      ak_sha256 text NOT NULL,
      details jsonb NOT NULL,
      bound_at timestamptz NOT NULL DEFAULT now(),
      enrolled_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE TABLE enrolment_challenges (
      jti uuid PRIMARY KEY,
      expires_at timestamptz NOT NULL
    );
    CREATE INDEX enrolment_challenges_expires_at ON enrolment_challenges (expires_at);
    CREATE TABLE audit (
      id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      at timestamptz NOT NULL DEFAULT now(),
      kind text NOT NULL,
      detail jsonb NOT NULL
    )`,
};
