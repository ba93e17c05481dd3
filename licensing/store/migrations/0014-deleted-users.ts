import type { Migration } from '../migrate';

/**
 * Until when a deleted user's client certificates may be good, so that revocation lists name no others. Null: they had none. An older program doesn't
 * say, and then it is as long as any of them lives.
 */
export const deletedUsers: Migration = {
  name: '0014-deleted-users',
  sql: `
    ALTER TABLE deleted_users ADD COLUMN certified_until timestamptz DEFAULT now() + interval '1 hour';
    CREATE INDEX deleted_users_certified_until ON deleted_users (certified_until)`,
};
