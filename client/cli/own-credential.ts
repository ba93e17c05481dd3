import { status } from '@grpc/grpc-js';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { RpcError } from '../../runtime/rpc/errors';
import type { LicenceCredential } from '../index';
import { CliError, EXIT } from './exit';
import { ownAccessToken } from './own-tokens';
import type { Output } from './output';
import { askPassword, askUsername } from './prompt';
import { withSecondFactor } from './second-factor';

export interface CredentialOptions {
  username?: string;
  passwordStdin?: boolean;
}

/** Does something as `ownCredential` says, with a code of the second factor where one is wanted beside a password. */
export async function byOwnCredential<T>(
  trust: TrustBundle,
  options: CredentialOptions,
  out: Output,
  work: (credential: LicenceCredential) => Promise<T>,
): Promise<T> {
  const credential = await ownCredential(trust, options);
  if ('accessToken' in credential) return work(credential);
  return withSecondFactor(out, { fromStdin: options.passwordStdin === true }, (oneTimeCode) =>
    work({ ...credential, oneTimeCode }),
  );
}

/**
 * Who is logged in; where nobody is, or somebody else, by username and password. For what a login may lack, and so has to work without one.
 * @throws CliError 4 when nobody is logged in and there is nobody to ask; RpcError
 */
async function ownCredential(
  trust: TrustBundle,
  { username, passwordStdin = false }: CredentialOptions,
): Promise<LicenceCredential> {
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
