import { status } from '@grpc/grpc-js';
import { Accounts } from '../../licensing/accounts/accounts';
import { deleteAccount, findDeletion, removeEnclavesOf } from '../../licensing/accounts/deletion';
import { normalizeUsername } from '../../licensing/accounts/username';
import { isUuid } from '../../attestation/bytes/uuid';
import { RpcError } from '../../runtime/rpc/errors';
import type { Database } from '../../licensing/store/database';
import type { DeleteUserRequest, DeleteUserResponse } from '../../proto/gen/licensing/v1/admin';
import type { Administrator } from './authentication';
import type { Enclaves } from './enclaves/enclaves';
import { requireReason } from './requests';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';

/** @throws RpcError INVALID_ARGUMENT admin.user_id */
export function requireUserId(text: string): string {
  if (isUuid(text)) return text;
  throw new RpcError(
    'admin.user_id',
    status.INVALID_ARGUMENT,
    'expected a user id in the form of a UUID in lower case, got something else',
  );
}

/** @returns the user's id @throws RpcError NOT_FOUND admin.no_such_user */
export async function userNamed(database: Database, username: string): Promise<string> {
  const account = await new Accounts(database).find(normalizeUsername(username) ?? '');
  if (!account) throw noSuchUser();
  return account.id;
}

/**
 * Deletes a user. What fails of their enclaves is tried again by login, and by another call with the user's id.
 * @throws RpcError INVALID_ARGUMENT admin.subject, admin.user_id, admin.reason; NOT_FOUND admin.no_such_user
 */
export async function deleteUser(
  database: Database,
  enclaves: Enclaves,
  { name }: Administrator,
  request: DeleteUserRequest,
  log: Logger = silent,
): Promise<DeleteUserResponse> {
  const reason = requireReason(request.reason);
  if ((request.user === '') === (request.username === ''))
    throw new RpcError('admin.subject', status.INVALID_ARGUMENT, 'expected a user, by id or by name');
  const user = request.user === '' ? await userNamed(database, request.username) : requireUserId(request.user);
  const deleted = await deleteAccount(database, user, {
    kind: 'admin.delete_user',
    detail: { administrator: name, subject: `user/${user}`, reason },
  });
  if (!deleted && !(await findDeletion(database, user))) throw noSuchUser();
  return { user, enclavesRemoved: await removeEnclavesOf(database, user, () => enclaves.remove(user), log) };
}

function noSuchUser(): RpcError {
  return new RpcError('admin.no_such_user', status.NOT_FOUND, 'there is no such user');
}
