import { randomUUID } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import type { AccountBackend } from '../../core/accounts/backend';
import { checkNewUsername } from '../../core/accounts/username';
import { logger } from '../../core/log/logger';
import { checkNewPassword } from '../../core/passwords/rules';
import { RpcError } from '../../core/rpc/errors';
import { unary } from '../../core/rpc/handlers';
import { issueAccessToken } from '../../core/tokens/access-token';
import type { AccountServiceServer } from '../../proto/gen/licensing/v1/account';

function taken(): RpcError {
  return new RpcError('signup.username_taken', status.ALREADY_EXISTS, 'the username is taken: choose another one');
}

/** AccountService: creates accounts. Of two sign-ups for one username at once, on whichever replicas, the database lets one in. */
export function accountService(backend: AccountBackend): AccountServiceServer {
  const { accounts, hasher, trustDomain } = backend;
  return {
    signUp: unary(async (request, { signal }) => {
      const username = checkNewUsername(request.username);
      checkNewPassword(request.password);
      // Spares the hashing; that a username is taken is what signing up tells everyone anyway.
      if (await accounts.find(username)) throw taken();
      const user = await accounts.create(username, await hasher.hash(request.password, signal));
      if (user === undefined) throw taken();
      logger.info({ user }, 'signed up');
      const authenticatedAt = Math.floor(Date.now() / 1000);
      const { token, expiresAt } = await issueAccessToken(backend.tokenKeys, { user, session: randomUUID(), authenticatedAt }, { trustDomain });
      return { accessToken: token, expiresAt: BigInt(expiresAt) };
    }),
  };
}
