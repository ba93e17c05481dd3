import type { AccountBackend } from '../../licensing/accounts/backend';
import { issuerOf } from '../../licensing/accounts/identities';
import type { CallContext } from '../../runtime/rpc/handlers';
import { callerOf } from '../../licensing/sessions/bearer';
import type { GetAccountResponse } from '../../proto/gen/licensing/v1/account';

export async function getAccount(backend: AccountBackend, context: CallContext): Promise<GetAccountResponse> {
  const { id: user, username, passwordHash } = callerOf(context).account;
  return {
    user,
    username,
    hasPassword: passwordHash !== undefined,
    oidcIssuer: (await issuerOf(backend.database, user)) ?? '',
  };
}
