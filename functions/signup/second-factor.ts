import type { AccountBackend } from '../../licensing/accounts/backend';
import { requireSecondFactor } from '../../licensing/accounts/second-factor';
import type { CallContext } from '../../runtime/rpc/handlers';
import { toUnixSeconds } from '../../runtime/rpc/unix-time';
import { base32, totpUri } from '../../licensing/second-factor/totp';
import { authenticateBearer } from '../../licensing/sessions/bearer';
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
import { confirmPassword } from './password';

/** @throws RpcError as authenticateBearer */
export async function getSecondFactor(backend: AccountBackend, context: CallContext): Promise<GetSecondFactorResponse> {
  const { user } = await authenticateBearer(backend, context);
  const { enabledAt, recoveryCodes } = await backend.secondFactors.status(user);
  return { enabled: enabledAt !== undefined, enabledAt: enabledAt ? toUnixSeconds(enabledAt) : 0n, recoveryCodes };
}

/** @throws RpcError as confirmPassword and SecondFactors.begin */
export async function beginSecondFactor(
  backend: AccountBackend,
  { password }: BeginSecondFactorRequest,
  context: CallContext,
): Promise<BeginSecondFactorResponse> {
  const { user, account } = await confirmPassword(backend, password, context);
  const secret = await backend.secondFactors.begin(user);
  return { uri: totpUri(secret, { issuer: backend.trustDomain, account: account.username }), secret: base32(secret) };
}

/** @throws RpcError as authenticateBearer and SecondFactors.confirm; RESOURCE_EXHAUSTED login.limited */
export async function confirmSecondFactor(
  backend: AccountBackend,
  { oneTimeCode }: ConfirmSecondFactorRequest,
  context: CallContext,
): Promise<ConfirmSecondFactorResponse> {
  const { user, session } = await authenticateBearer(backend, context);
  const attempt = await backend.limits.codeAttempt(user, session);
  const recoveryCodes = await backend.secondFactors.confirm(user, oneTimeCode);
  await attempt.succeeded();
  context.log.info({ user, session }, 'second factor enabled');
  return { recoveryCodes };
}

/** @throws RpcError as confirmPassword and requireSecondFactor. That there is none is what was wanted. */
export async function disableSecondFactor(
  backend: AccountBackend,
  { password, oneTimeCode }: DisableSecondFactorRequest,
  context: CallContext,
): Promise<DisableSecondFactorResponse> {
  const { user, session } = await confirmPassword(backend, password, context);
  await backend.secondFactors.disable(user, await requireSecondFactor(backend, user, oneTimeCode, session));
  context.log.info({ user, session }, 'second factor disabled');
  return {};
}

/** @throws RpcError as confirmPassword, requireSecondFactor and SecondFactors.renewRecoveryCodes */
export async function renewRecoveryCodes(
  backend: AccountBackend,
  { password, oneTimeCode }: RenewRecoveryCodesRequest,
  context: CallContext,
): Promise<RenewRecoveryCodesResponse> {
  const { user, session } = await confirmPassword(backend, password, context);
  const shown = await requireSecondFactor(backend, user, oneTimeCode, session);
  return { recoveryCodes: await backend.secondFactors.renewRecoveryCodes(user, shown) };
}
