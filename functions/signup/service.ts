import { randomUUID } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import type { AccountBackend } from '../../licensing/accounts/backend';
import { requesterOf } from '../../licensing/accounts/password';
import { checkNewUsername } from '../../licensing/accounts/username';
import { checkNewPassword } from '../../licensing/passwords/rules';
import { RpcError } from '../../runtime/rpc/errors';
import { unary } from '../../runtime/rpc/handlers';
import { IdTokenVerifier } from '../../licensing/oidc/verifier';
import type { OidcSettings } from '../../licensing/oidc/settings';
import { issueAccessToken } from '../../licensing/tokens/access-token';
import type { AccountServiceServer } from '../../proto/gen/licensing/v1/account';
import { getAccount } from './account';
import { linkIdentity, unlinkIdentity } from './link';
import { exchangeIdToken, getOidcSettings } from './oidc';
import { changePassword } from './password';
import {
  beginSecondFactor,
  confirmSecondFactor,
  disableSecondFactor,
  getSecondFactor,
  renewRecoveryCodes,
} from './second-factor';
import { listSessions, logOut, refresh, revokeSession } from './sessions';
import { unixSecondsOf } from '../../runtime/clock';
import type { Implementation } from '../../runtime/rpc/handlers';

function taken(): RpcError {
  return new RpcError('signup.username_taken', status.ALREADY_EXISTS, 'the username is taken: choose another one');
}

/**
 * AccountService: accounts and their sessions. Of two sign-ups for one username at once, on whichever replicas, the database lets one in.
 * @param oidc undefined: no logins by an OpenID provider
 */
export function accountService(backend: AccountBackend, oidc?: OidcSettings): Implementation<AccountServiceServer> {
  const provider = oidc && { ...oidc, verifier: new IdTokenVerifier(oidc, backend.clock) };
  const { accounts, hasher, limits, sessions, trustDomain } = backend;
  return {
    signUp: unary(async (request, context) => {
      const client = backend.clientOf(context, request.clientName);
      const username = checkNewUsername(request.username);
      await limits.signup(client.address);
      const requester = requesterOf(client, context.signal);
      await checkNewPassword(hasher, request.password, [username], requester);
      // Spares the hashing; that a username is taken is what signing up tells everyone anyway.
      if (await accounts.find(username)) throw taken();
      const passwordHash = await hasher.hash(request.password, requester);
      const user = await accounts.create(username, passwordHash);
      if (user === undefined) throw taken();
      const session = randomUUID();
      const authenticatedAt = unixSecondsOf(backend.clock);
      const { refreshToken, refreshTokenExpiresAt } = await sessions.begin(
        { user, session, authenticatedAt, passwordHash },
        client,
      );
      context.log.info({ user, session }, 'signed up');
      const { token, expiresAt } = await issueAccessToken(
        backend.tokenKeys,
        { user, session, authenticatedAt },
        { trustDomain },
      );
      return {
        accessToken: token,
        expiresAt: BigInt(expiresAt),
        refreshToken,
        refreshTokenExpiresAt: BigInt(refreshTokenExpiresAt),
      };
    }),
    refresh: unary((request, context) => refresh(backend, request, context)),
    logOut: unary((request) => logOut(backend, request)),
    getOidcSettings: unary(() => Promise.resolve(getOidcSettings(oidc))),
    exchangeIdToken: unary((request, context) => exchangeIdToken(backend, provider, request, context)),
    linkIdentity: unary((request, context) => linkIdentity(backend, provider, request, context)),
    unlinkIdentity: unary((request, context) => unlinkIdentity(backend, request, context)),
    getAccount: unary((_request, context) => getAccount(backend, context)),
    listSessions: unary((_request, context) => listSessions(backend, context)),
    revokeSession: unary((request, context) => revokeSession(backend, request, context)),
    changePassword: unary((request, context) => changePassword(backend, request, context)),
    getSecondFactor: unary((_request, context) => getSecondFactor(backend, context)),
    beginSecondFactor: unary((request, context) => beginSecondFactor(backend, request, context)),
    confirmSecondFactor: unary((request, context) => confirmSecondFactor(backend, request, context)),
    disableSecondFactor: unary((request, context) => disableSecondFactor(backend, request, context)),
    renewRecoveryCodes: unary((request, context) => renewRecoveryCodes(backend, request, context)),
  };
}
