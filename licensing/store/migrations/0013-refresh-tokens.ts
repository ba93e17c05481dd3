import type { Migration } from '../migrate';

/**
 * Which refresh tokens are retired: all of a session but the one that was used last, whose answer may have been lost, and its successor.
 * One that was used before this migration stays for one use only.
 */
export const refreshTokens: Migration = {
  name: '0013-refresh-tokens',
  sql: `
    ALTER TABLE refresh_tokens ADD COLUMN retired_at timestamptz;
    UPDATE refresh_tokens SET retired_at = used_at WHERE used_at IS NOT NULL`,
};
