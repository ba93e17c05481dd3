import { status } from '@grpc/grpc-js';
import type { AccountBackend } from '../../licensing/accounts/backend';
import { holdAccount } from '../../licensing/accounts/hold';
import { bindIdentity, unbindIdentities } from '../../licensing/accounts/identities';
import { confirmCaller } from '../../licensing/accounts/password';
import { requireSecondFactor } from '../../licensing/accounts/second-factor';
import { useToken } from '../../licensing/oidc/used-tokens';
import { callerOf } from '../../licensing/sessions/bearer';
import { RpcError } from '../../runtime/rpc/errors';
import type { CallContext } from '../../runtime/rpc/handlers';
import type {
  LinkIdentityRequest,
  LinkIdentityResponse,
  UnlinkIdentityRequest,
  UnlinkIdentityResponse,
} from '../../proto/gen/licensing/v1/account';
import { freshToken, oidcOff, idTokenUsed } from './oidc';
import type { OidcProvider } from './oidc';

/**
 * Binds the caller's account to whom the OpenID provider names. A stolen access token is not enough: it would be a way in for good. Nor is a password that
 * was changed since the call began.
 * @throws RpcError as confirmCaller, freshToken, requireSecondFactor and holdAccount; FAILED_PRECONDITION oidc.off; ALREADY_EXISTS oidc.already_bound
 */
export async function linkIdentity(
  backend: AccountBackend,
  provider: OidcProvider | undefined,
  { password, oneTimeCode, idToken }: LinkIdentityRequest,
  context: CallContext,
): Promise<LinkIdentityResponse> {
  if (!provider) throw oidcOff();
  const { shown, session } = await confirmCaller(backend, { password }, context);
  const { user } = shown;
  const token = await freshToken(backend, provider, idToken, backend.clientOf(context, ''));
  const secondFactor = await requireSecondFactor(backend, user, oneTimeCode, session);
  await backend.database.transaction(async (queries) => {
    if (!(await useToken(queries, token))) throw idTokenUsed();
    await holdAccount(queries, { ...shown, secondFactor });
    // One answer for both: whose account it is else is nobody's business.
    if (!(await bindIdentity(queries, user, token)))
      throw new RpcError(
        'oidc.already_bound',
        status.ALREADY_EXISTS,
        'your account, or who you are to the OpenID provider, is bound already',
      );
  });
  context.log.info({ user, session }, 'bound to an OpenID provider');
  return { oidcIssuer: token.issuer };
}

/** @throws RpcError as confirmCaller, requireSecondFactor and holdAccount; FAILED_PRECONDITION account.no_password, oidc.not_bound */
export async function unlinkIdentity(
  backend: AccountBackend,
  { password, oneTimeCode }: UnlinkIdentityRequest,
  context: CallContext,
): Promise<UnlinkIdentityResponse> {
  if (callerOf(context).account.passwordHash === undefined)
    throw new RpcError(
      'account.no_password',
      status.FAILED_PRECONDITION,
      'the account has no password: nobody could log into it any more',
    );
  const { shown, session } = await confirmCaller(backend, { password }, context);
  const { user } = shown;
  const secondFactor = await requireSecondFactor(backend, user, oneTimeCode, session);
  const unlinked = await backend.database.transaction(async (queries) => {
    await holdAccount(queries, { ...shown, secondFactor });
    return unbindIdentities(queries, user);
  });
  if (unlinked.length === 0) {
    throw new RpcError(
      'oidc.not_bound',
      status.FAILED_PRECONDITION,
      'your account is not linked to an OpenID provider',
    );
  }
  context.log.info({ user, session }, 'no longer linked to an OpenID provider');
  return {};
}
