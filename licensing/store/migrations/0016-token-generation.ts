import type { Migration } from '../migrate';

/** Access tokens of a session say which generation they are of; what ends those that are out, such as a new password, begins the next one. */
export const tokenGeneration: Migration = {
  name: '0016-token-generation',
  sql: `ALTER TABLE sessions ADD COLUMN generation integer NOT NULL DEFAULT 0`,
};
