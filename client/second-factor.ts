import { callUnary } from '../runtime/rpc/client';
import { fromUnixSeconds } from '../runtime/rpc/unix-time';
import type { TrustBundle } from '../attestation/trust/bundle';
import { bearer, PASSWORD_TIMEOUT_MS, TIMEOUT_MS, withAccountService } from './account';
import type { CallOptions, Confirmation } from './account';

/** Whether an account has a second factor (TOTP, RFC 6238). */
export interface SecondFactorState {
  enabled: boolean;
  /** Undefined if not enabled. */
  enabledAt: Date | undefined;
  /** Number of unused recovery codes. */
  recoveryCodes: number;
}

/** The secret to set up an authenticator app with. */
export interface SecondFactorSecret {
  /** otpauth://totp/… URI, for a QR code. */
  uri: string;
  /** Base32, for manual entry. */
  secret: string;
}

/** Returns whether the user has a second factor. @throws RpcError login.token_invalid */
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
 * Creates a secret for an authenticator app. It takes effect with `confirmSecondFactor`.
 * @throws RpcError login.wrong_credentials, account.login_not_fresh, account.second_factor_enabled, account.second_factor_unavailable
 */
export function beginSecondFactor(
  trust: TrustBundle,
  accessToken: string,
  { password, refreshToken = '' }: Confirmation,
  options: CallOptions = {},
): Promise<SecondFactorSecret> {
  return withAccountService(trust, options, (client) =>
    callUnary(
      client,
      client.beginSecondFactor,
      { password, refreshToken },
      { timeout: PASSWORD_TIMEOUT_MS, metadata: bearer(accessToken), signal: options.signal },
    ),
  );
}

/**
 * Enables the second factor, by proving that the authenticator has the secret. Logins with a password then require a code.
 * @returns recovery codes, each valid once in place of a code; they are not shown again
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

/** A confirmation and a second factor. */
export interface BothFactors extends Confirmation {
  /** A code from the authenticator, or a recovery code. */
  oneTimeCode: string;
}

/** Removes the second factor. @throws RpcError login.wrong_credentials, login.second_factor_required, login.second_factor_wrong, login.limited */
export async function disableSecondFactor(
  trust: TrustBundle,
  accessToken: string,
  { refreshToken = '', ...factors }: BothFactors,
  options: CallOptions = {},
): Promise<void> {
  await withAccountService(trust, options, (client) =>
    callUnary(
      client,
      client.disableSecondFactor,
      { ...factors, refreshToken },
      {
        timeout: PASSWORD_TIMEOUT_MS,
        metadata: bearer(accessToken),
        signal: options.signal,
      },
    ),
  );
}

/** Generates new recovery codes; the old ones stop working. @throws RpcError as disableSecondFactor; account.second_factor_disabled */
export function renewRecoveryCodes(
  trust: TrustBundle,
  accessToken: string,
  { refreshToken = '', ...factors }: BothFactors,
  options: CallOptions = {},
): Promise<string[]> {
  return withAccountService(trust, options, async (client) => {
    const call = { timeout: PASSWORD_TIMEOUT_MS, metadata: bearer(accessToken), signal: options.signal };
    return (await callUnary(client, client.renewRecoveryCodes, { ...factors, refreshToken }, call)).recoveryCodes;
  });
}
