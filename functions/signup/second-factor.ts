import type { AccountBackend } from '../../licensing/accounts/backend';
import { holdAccount } from '../../licensing/accounts/hold';
import { requireSecondFactor } from '../../licensing/accounts/second-factor';
import type { CallContext } from '../../runtime/rpc/handlers';
import { toUnixSeconds } from '../../runtime/rpc/unix-time';
import { base32, totpUri } from '../../licensing/second-factor/totp';
import { callerOf } from '../../licensing/sessions/bearer';
import type {
  BeginSecondFactorRequest,
  BeginSecondFactorResponse,
  ConfirmSecondFactorRequest,
  ConfirmSecondFactorResponse,
  DisableSecondFactorRequest,
  DisableSecondFactorResponse,
  GetSecondFactorResponse,
  RenewRecoveryCodesRequest,
  RenewRecoveryCodesResponse,
} from '../../proto/gen/licensing/v1/account';
import { confirmCaller } from '../../licensing/accounts/password';

export async function getSecondFactor(backend: AccountBackend, context: CallContext): Promise<GetSecondFactorResponse> {
  const { enabledAt, recoveryCodes } = await backend.secondFactors.status(callerOf(context).user);
  return { enabled: enabledAt !== undefined, enabledAt: enabledAt ? toUnixSeconds(enabledAt) : 0n, recoveryCodes };
}

/** @throws RpcError as confirmCaller and SecondFactors.begin */
export async function beginSecondFactor(
  backend: AccountBackend,
  request: BeginSecondFactorRequest,
  context: CallContext,
): Promise<BeginSecondFactorResponse> {
  const { account, shown } = await confirmCaller(backend, request, context);
  const secret = await backend.secondFactors.begin(shown.user, (queries) => holdAccount(queries, shown));
  return { uri: totpUri(secret, { issuer: backend.trustDomain, account: account.username }), secret: base32(secret) };
}

/** @throws RpcError as SecondFactors.confirm and holdAccount; RESOURCE_EXHAUSTED login.limited */
export async function confirmSecondFactor(
  backend: AccountBackend,
  { oneTimeCode }: ConfirmSecondFactorRequest,
  context: CallContext,
): Promise<ConfirmSecondFactorResponse> {
  const caller = callerOf(context);
  const { user, session } = caller;
  const attempt = await backend.limits.codeAttempt(user, session);
  const recoveryCodes = await backend.secondFactors.confirm(user, oneTimeCode, (queries) =>
    holdAccount(queries, { user, caller }),
  );
  await attempt.succeeded();
  context.log.info({ user, session }, 'second factor enabled');
  return { recoveryCodes };
}

/** @throws RpcError as confirmCaller, requireSecondFactor and holdAccount. That there is none is what was wanted. */
export async function disableSecondFactor(
  backend: AccountBackend,
  request: DisableSecondFactorRequest,
  context: CallContext,
): Promise<DisableSecondFactorResponse> {
  const { shown, session } = await confirmCaller(backend, request, context);
  const { user } = shown;
  const secondFactor = await requireSecondFactor(backend, user, request.oneTimeCode, session);
  await backend.secondFactors.disable(user, (queries) => holdAccount(queries, { ...shown, secondFactor }));
  context.log.info({ user, session }, 'second factor disabled');
  return {};
}

/** @throws RpcError as confirmCaller, requireSecondFactor, holdAccount and SecondFactors.renewRecoveryCodes */
export async function renewRecoveryCodes(
  backend: AccountBackend,
  request: RenewRecoveryCodesRequest,
  context: CallContext,
): Promise<RenewRecoveryCodesResponse> {
  const { shown, session } = await confirmCaller(backend, request, context);
  const { user } = shown;
  const secondFactor = await requireSecondFactor(backend, user, request.oneTimeCode, session);
  const hold = (queries: Parameters<typeof holdAccount>[0]): Promise<void> =>
    holdAccount(queries, { ...shown, secondFactor });
  return { recoveryCodes: await backend.secondFactors.renewRecoveryCodes(user, hold) };
}
