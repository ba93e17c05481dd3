import type { Migration } from '../migrate';

/** Sessions that end take their seats with them: without an index each reads all seats of all users. */
export const seatsBySession: Migration = {
  name: '0015-seats-by-session',
  sql: `CREATE INDEX seats_session_id ON seats (session_id)`,
};
