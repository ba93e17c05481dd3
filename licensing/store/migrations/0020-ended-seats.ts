import type { Migration } from '../migrate';

/**
 * Seats that their client or their user gave up, whose connection nobody has said to be closed: they get no other token, and count until the last one ends.
 * A release before doesn't know of it, and renews such a seat, which counts all the same.
 */
export const endedSeats: Migration = {
  name: '0020-ended-seats',
  sql: 'ALTER TABLE seats ADD COLUMN ended_at timestamptz',
};
