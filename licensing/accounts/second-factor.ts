import { countAttempt } from '../limits/limits';
import type { Limits } from '../limits/limits';
import { recoveryCodeHash } from '../second-factor/recovery-codes';
import { codeRequired, wrongCode } from '../second-factor/second-factors';
import type { SecondFactors } from '../second-factor/second-factors';

/** More than any code. */
const MAX_CODE_LENGTH = 64;

/**
 * Takes the second factor of a user whose password was right just now, where they have one; only who has the password learns whether they do.
 * @param code of the authenticator, or a recovery code
 * @returns which one it is, for `holdAccount`; null where they have none: what they do now is for who has none then, either
 * @param session that the caller has shown to have: what it tries is counted by itself
 * @throws RpcError UNAUTHENTICATED login.second_factor_required, login.second_factor_wrong; RESOURCE_EXHAUSTED login.limited;
 * UNAVAILABLE account.second_factor_unavailable
 */
export async function requireSecondFactor(
  { secondFactors, limits }: { secondFactors: SecondFactors; limits: Limits },
  user: string,
  code: string,
  session: string | undefined,
): Promise<string | null> {
  const { version } = await secondFactors.status(user);
  if (version === undefined) return null;
  if (code === '') throw codeRequired();
  if (code.length > MAX_CODE_LENGTH) throw wrongCode();
  const recovery = recoveryCodeHash(code);
  // Not to be guessed, so not counted: it is the way in when somebody has used the tries up.
  if (recovery) {
    if (!(await secondFactors.useRecoveryCode(user, recovery))) throw wrongCode();
    return version;
  }
  if (!(await countAttempt(await limits.codeAttempt(user, session), () => secondFactors.useCode(user, code))))
    throw wrongCode();
  return version;
}
