import type { Migration } from '../migrate';

/** Usernames of any script; which texts are one is for licensing/accounts/username.ts to say. Small letters of ASCII stay as they were. */
export const usernames: Migration = {
  name: '0006-usernames',
  sql: `
    ALTER TABLE accounts DROP CONSTRAINT accounts_username_check;
    ALTER TABLE accounts ADD CONSTRAINT accounts_username_check CHECK (char_length(username) BETWEEN 1 AND 64 AND username !~ '[A-Z[:space:]]')`,
};
