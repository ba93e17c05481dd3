import { randomBytes, randomUUID } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import type { AccountBackend } from '../../licensing/accounts/backend';
import { createByIdentity, findByIdentity, holdByIdentity } from '../../licensing/accounts/identities';
import { holdAccount } from '../../licensing/accounts/hold';
import { requireSecondFactor } from '../../licensing/accounts/second-factor';
import { checkNewUsername, normalizeUsername } from '../../licensing/accounts/username';
import { IdTokenError, OidcProviderError } from '../../runtime/oidc/errors';
import type { VerifiedIdToken } from '../../licensing/oidc/id-token';
import type { OidcSettings } from '../../licensing/oidc/settings';
import { forgetUsedTokens, isUsed, useToken } from '../../licensing/oidc/used-tokens';
import type { IdTokenVerifier } from '../../licensing/oidc/verifier';
import { isAnyRevoked } from '../../licensing/revocation/store';
import { RpcError } from '../../runtime/rpc/errors';
import type { CallContext } from '../../runtime/rpc/handlers';
import { base32 } from '../../licensing/second-factor/totp';
import { beginSession, revokedUser } from '../../licensing/sessions/sessions';
import type { RefreshGrant } from '../../licensing/sessions/sessions';
import { issueAccessToken } from '../../licensing/tokens/access-token';
import type {
  ExchangeIdTokenRequest,
  ExchangeIdTokenResponse,
  GetOidcSettingsResponse,
} from '../../proto/gen/licensing/v1/account';
import type { ClientDetails } from '../../licensing/sessions/client-details';
import { unixSecondsOf } from '../../runtime/clock';
import { CodedError } from '../../errors/coded-error';

export interface OidcProvider extends OidcSettings {
  verifier: Pick<IdTokenVerifier, 'verify'>;
}

export function getOidcSettings(oidc: OidcSettings | undefined): GetOidcSettingsResponse {
  return {
    issuer: oidc?.issuer ?? '',
    clientId: oidc?.clientId ?? '',
    publicClientSecret: oidc?.publicClientSecret ?? '',
    scopes: oidc?.scopes ?? [],
  };
}

/** Another call made or deleted the account at this moment: what was found before is not so any more. */
class IdentityChanged extends CodedError<'internal.identity_changed'> {}

interface Begun extends RefreshGrant {
  user: string;
  username: string;
  created: boolean;
}

/**
 * Begins a session for whom the OpenID provider says that somebody is: the account that is bound to issuer and subject, whatever else the token says. A
 * token is used up by the session that begins with it, so one that a second factor is missing for can be shown again.
 * @throws RpcError FAILED_PRECONDITION oidc.off, oidc.other_username; UNAUTHENTICATED oidc.token_invalid, oidc.token_used, login.revoked, and as requireSecondFactor;
 * PERMISSION_DENIED oidc.unknown_user; UNAVAILABLE oidc.provider_unavailable, oidc.provider_invalid; RESOURCE_EXHAUSTED login.limited; for a new account as SignUp
 */
export async function exchangeIdToken(
  backend: AccountBackend,
  provider: OidcProvider | undefined,
  request: ExchangeIdTokenRequest,
  context: CallContext,
): Promise<ExchangeIdTokenResponse> {
  if (!provider) throw oidcOff();
  const client = backend.clientOf(context, request.clientName);
  const token = await freshToken(backend, provider, request.idToken, client);
  const session = randomUUID();
  const authenticatedAt = unixSecondsOf(backend.clock);
  const begin = (): Promise<Begun> =>
    beginByToken(backend, provider, { token, request, session, authenticatedAt, client, call: context });
  const begun = await begin().catch((error: unknown) => {
    if (error instanceof IdentityChanged) return begin();
    throw error;
  });
  const { user, username, created, refreshToken, refreshTokenExpiresAt } = begun;
  context.log.info({ user, session, created }, 'logged in by OIDC');
  await forgetUsedTokens(backend.database).catch((err: unknown) =>
    context.log.warn({ err }, 'used ID tokens were not forgotten'),
  );
  const { token: accessToken, expiresAt } = await issueAccessToken(
    backend.tokenKeys,
    { user, session, authenticatedAt },
    { trustDomain: backend.trustDomain },
  );
  return {
    accessToken,
    expiresAt: BigInt(expiresAt),
    refreshToken,
    refreshTokenExpiresAt: BigInt(refreshTokenExpiresAt),
    username,
    created,
  };
}

interface Beginning {
  token: VerifiedIdToken;
  request: ExchangeIdTokenRequest;
  session: string;
  authenticatedAt: number;
  client: ClientDetails;
  call: CallContext;
}

async function beginByToken(backend: AccountBackend, provider: OidcProvider, beginning: Beginning): Promise<Begun> {
  const { token, request, session, authenticatedAt, client } = beginning;
  const { database } = backend;
  const known = await findByIdentity(database, token);
  if (!known) return beginFirst(backend, provider, beginning);
  const { user, username } = known;
  beginning.call.user = user;
  if (request.username !== '' && normalizeUsername(request.username) !== username) {
    throw new RpcError('oidc.other_username', status.FAILED_PRECONDITION, `your account here is called ${username}`);
  }
  if (await isAnyRevoked(database, [['user', user]])) throw revokedUser();
  // Last of what may be refused: a code is good once.
  const secondFactor = await requireSecondFactor(backend, user, request.oneTimeCode, undefined);
  return database.transaction(async (queries) => {
    if (!(await useToken(queries, token))) throw idTokenUsed();
    if (!(await holdByIdentity(queries, user, token)))
      throw new IdentityChanged('internal.identity_changed', 'the identity was bound or unbound meanwhile');
    await holdAccount(queries, { user, secondFactor });
    return {
      user,
      username,
      created: false,
      ...(await beginSession(queries, { user, session, authenticatedAt }, client)),
    };
  });
}

async function beginFirst(
  { database, limits }: AccountBackend,
  { signup }: OidcProvider,
  { token, request, session, authenticatedAt, client }: Beginning,
): Promise<Begun> {
  if (!signup)
    throw new RpcError(
      'oidc.unknown_user',
      status.PERMISSION_DENIED,
      'the OpenID provider knows you, but you have no account here',
    );
  const username = request.username === '' ? madeUsername() : checkNewUsername(request.username);
  await limits.signup(client.address);
  return database.transaction(async (queries) => {
    if (!(await useToken(queries, token))) throw idTokenUsed();
    const made = await createByIdentity(queries, username, token);
    if ('taken' in made) {
      if (made.taken === 'identity')
        throw new IdentityChanged('internal.identity_changed', 'the identity was bound or unbound meanwhile');
      throw new RpcError('signup.username_taken', status.ALREADY_EXISTS, 'the username is taken: choose another one');
    }
    const { user } = made;
    return {
      user,
      username,
      created: true,
      ...(await beginSession(queries, { user, session, authenticatedAt }, client)),
    };
  });
}

/**
 * What an ID token says that can still be used.
 * @throws RpcError UNAUTHENTICATED oidc.token_invalid, oidc.token_used; UNAVAILABLE oidc.provider_unavailable, oidc.provider_invalid; RESOURCE_EXHAUSTED login.limited
 */
export async function freshToken(
  backend: AccountBackend,
  provider: OidcProvider,
  idToken: string,
  client: ClientDetails,
): Promise<VerifiedIdToken> {
  const token = await verified(backend, provider, idToken, client);
  if (await isUsed(backend.database, token)) throw idTokenUsed();
  return token;
}

async function verified(
  { limits, log }: AccountBackend,
  { verifier }: OidcProvider,
  idToken: string,
  { address }: ClientDetails,
): Promise<VerifiedIdToken> {
  const attempt = await limits.idTokenAttempt(address);
  try {
    const token = await verifier.verify(idToken);
    await attempt.succeeded();
    return token;
  } catch (error) {
    if (error instanceof IdTokenError)
      throw new RpcError('oidc.token_invalid', status.UNAUTHENTICATED, error.message, { cause: error });
    // Nobody could look.
    await attempt.succeeded();
    if (!(error instanceof OidcProviderError)) throw error;
    log.warn({ code: error.code, reason: error.message }, 'no ID token can be checked');
    throw new RpcError(error.code, status.UNAVAILABLE, error.message, { cause: error });
  }
}

export function oidcOff(): RpcError {
  return new RpcError('oidc.off', status.FAILED_PRECONDITION, 'this service does not offer login with OIDC');
}

export function idTokenUsed(): RpcError {
  return new RpcError(
    'oidc.token_used',
    status.UNAUTHENTICATED,
    'the ID token was used before: ask the OpenID provider for another one',
  );
}

/** 50 random bits: of the person the name says nothing. */
function madeUsername(): string {
  return `user-${base32(randomBytes(7)).toLowerCase().slice(0, 10)}`;
}
