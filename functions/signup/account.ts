import type { AccountBackend } from '../../core/accounts/backend';
import { issuerOf } from '../../core/accounts/identities';
import type { CallContext } from '../../core/rpc/handlers';
import { authenticateBearer } from '../../core/sessions/bearer';
import type { GetAccountResponse } from '../../proto/gen/licensing/v1/account';
import { accountOf } from './password';

/** @throws RpcError as authenticateBearer */
export async function getAccount(backend: AccountBackend, { metadata }: CallContext): Promise<GetAccountResponse> {
  const { id: user, username, passwordHash } = await accountOf(backend, await authenticateBearer(backend, metadata));
  return { user, username, hasPassword: passwordHash !== undefined, oidcIssuer: (await issuerOf(backend.database, user)) ?? '' };
}
