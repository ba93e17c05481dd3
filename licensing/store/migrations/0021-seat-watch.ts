import type { Migration } from '../migrate';

/**
 * When a login service last reached this database, in one row; and the last time that none did for a while. What follows from it for seats is decided in
 * licensing/seats/watch.ts. A release before neither reads nor writes it.
 */
export const seatWatch: Migration = {
  name: '0021-seat-watch',
  sql: `
    CREATE TABLE seat_watch (
      singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
      at timestamptz NOT NULL DEFAULT now(),
      gap_from timestamptz,
      gap_until timestamptz,
      extended boolean NOT NULL DEFAULT false
    );
    INSERT INTO seat_watch DEFAULT VALUES`,
};
