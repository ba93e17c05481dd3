import { status } from '@grpc/grpc-js';
import { Accounts } from '../../core/accounts/accounts';
import { normalizeUsername } from '../../core/accounts/username';
import { RpcError } from '../../core/rpc/errors';
import type { Database } from '../../core/store/database';

const USER_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** @throws RpcError INVALID_ARGUMENT admin.user_id */
export function requireUserId(text: string): string {
  if (USER_ID.test(text)) return text;
  throw new RpcError('admin.user_id', status.INVALID_ARGUMENT, 'expected a user id in the form of a UUID in lower case, got something else');
}

/** @returns the user's id @throws RpcError NOT_FOUND admin.no_such_user */
export async function userNamed(database: Database, username: string): Promise<string> {
  const account = await new Accounts(database).find(normalizeUsername(username) ?? '');
  if (!account) throw new RpcError('admin.no_such_user', status.NOT_FOUND, 'there is no such user');
  return account.id;
}
