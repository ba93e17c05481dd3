import { status } from '@grpc/grpc-js';
import type { TrustBundle } from '../../core/trust/bundle';
import { RpcError } from '../../core/rpc/errors';
import type { LicenceCredential } from '../index';
import { CliError, EXIT } from './exit';
import { ownAccessToken } from './own-tokens';
import { askPassword, askUsername } from './prompt';

export interface CredentialOptions {
  username?: string;
  passwordStdin?: boolean;
}

/**
 * Who is logged in; where nobody is, or somebody else, by username and password. For what a login may lack, and so has to work without one.
 * @throws CliError 4 when nobody is logged in and there is nobody to ask; RpcError
 */
export async function ownCredential(trust: TrustBundle, { username, passwordStdin = false }: CredentialOptions): Promise<LicenceCredential> {
  if (!passwordStdin) {
    try {
      return { accessToken: await ownAccessToken(trust, username) };
    } catch (error) {
      if (!isLoggedOut(error) || !process.stdin.isTTY) throw error;
    }
  }
  const named = await askUsername(username);
  return { username: named, password: await askPassword({ fromStdin: passwordStdin }) };
}

function isLoggedOut(error: unknown): boolean {
  if (error instanceof CliError) return error.exitCode === EXIT.authentication;
  return error instanceof RpcError && error.grpcStatus === status.UNAUTHENTICATED;
}
