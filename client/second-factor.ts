import { callUnary } from '../runtime/rpc/client';
import { fromUnixSeconds } from '../runtime/rpc/unix-time';
import type { TrustBundle } from '../attestation/trust/bundle';
import { bearer, PASSWORD_TIMEOUT_MS, TIMEOUT_MS, withAccountService } from './account';
import type { CallOptions } from './account';

export interface SecondFactorState {
  enabled: boolean;
  /** Undefined where there is none. */
  enabledAt: Date | undefined;
  /** That are not used. */
  recoveryCodes: number;
}

/** What the authenticator needs. Secrets. */
export interface SecondFactorSecret {
  /** For a QR code: otpauth://totp/… */
  uri: string;
  /** Base32, to type where there is no camera. */
  secret: string;
}

/** Whether the user has a second factor. @throws RpcError */
export function secondFactor(
  trust: TrustBundle,
  accessToken: string,
  options: CallOptions = {},
): Promise<SecondFactorState> {
  return withAccountService(trust, options, async (client) => {
    const call = { timeout: TIMEOUT_MS, metadata: bearer(accessToken), signal: options.signal };
    const { enabled, enabledAt, recoveryCodes } = await callUnary(client, client.getSecondFactor, {}, call);
    return { enabled, enabledAt: enabled ? fromUnixSeconds(enabledAt) : undefined, recoveryCodes };
  });
}

/**
 * Makes a secret for an authenticator. Nothing changes before `confirmSecondFactor`.
 * @throws RpcError login.wrong_credentials, account.second_factor_enabled, account.second_factor_unavailable
 */
export function beginSecondFactor(
  trust: TrustBundle,
  accessToken: string,
  password: string,
  options: CallOptions = {},
): Promise<SecondFactorSecret> {
  return withAccountService(trust, options, (client) =>
    callUnary(
      client,
      client.beginSecondFactor,
      { password },
      { timeout: PASSWORD_TIMEOUT_MS, metadata: bearer(accessToken), signal: options.signal },
    ),
  );
}

/**
 * Shows that the authenticator has the secret; a login by password takes a code from now on.
 * @returns recovery codes, which are not shown again: each is good once in place of a code
 * @throws RpcError login.second_factor_wrong, account.second_factor_not_begun, login.limited
 */
export function confirmSecondFactor(
  trust: TrustBundle,
  accessToken: string,
  oneTimeCode: string,
  options: CallOptions = {},
): Promise<string[]> {
  return withAccountService(trust, options, async (client) => {
    const call = { timeout: TIMEOUT_MS, metadata: bearer(accessToken), signal: options.signal };
    return (await callUnary(client, client.confirmSecondFactor, { oneTimeCode }, call)).recoveryCodes;
  });
}

export interface BothFactors {
  password: string;
  /** Of the authenticator, or a recovery code. */
  oneTimeCode: string;
}

/** Removes the second factor. @throws RpcError login.wrong_credentials, login.second_factor_required, login.second_factor_wrong, login.limited */
export async function disableSecondFactor(
  trust: TrustBundle,
  accessToken: string,
  factors: BothFactors,
  options: CallOptions = {},
): Promise<void> {
  await withAccountService(trust, options, (client) =>
    callUnary(client, client.disableSecondFactor, factors, {
      timeout: PASSWORD_TIMEOUT_MS,
      metadata: bearer(accessToken),
      signal: options.signal,
    }),
  );
}

/** Makes new recovery codes; the old ones are worth nothing any more. @throws RpcError as disableSecondFactor; account.second_factor_disabled */
export function renewRecoveryCodes(
  trust: TrustBundle,
  accessToken: string,
  factors: BothFactors,
  options: CallOptions = {},
): Promise<string[]> {
  return withAccountService(trust, options, async (client) => {
    const call = { timeout: PASSWORD_TIMEOUT_MS, metadata: bearer(accessToken), signal: options.signal };
    return (await callUnary(client, client.renewRecoveryCodes, factors, call)).recoveryCodes;
  });
}
