import type { Command } from 'commander';
import { accountSummary, changePassword, secondFactor } from '../../index';
import type { LinkedIdentity } from '../../index';
import { callOptions } from '../call-options';
import { CliError, EXIT } from '../exit';
import { addExample, addOutputOptions, addTrustOptions } from '../options';
import type { CommonOptions } from '../options';
import { Output } from '../output';
import { ownTokens } from '../own-tokens';
import { askCode, askPasswordChange, askYes } from '../prompt';
import { currentTrust } from '../session-file';
import { requireWritableState } from '../state';
import { loadTrust } from '../trust';

interface Options extends CommonOptions {
  passwordStdin?: boolean;
  unlinkAll?: boolean;
}

/** `sls passwd`: changes the password; all other sessions end. */
export function addPasswd(program: Command): void {
  const command = program
    .command('passwd')
    .description('change your password; all your other sessions end')
    .option(
      '--password-stdin',
      'read the old password, the new password, and a code if you have a second factor from standard input, one per line',
    )
    .option('--unlink-all', 'unlink your account from every OpenID provider as well, without asking');
  addTrustOptions(addOutputOptions(command)).action(run);
  addExample(command, 'sls passwd');
}

async function run(options: Options): Promise<void> {
  const out = new Output(options);
  const trust = await currentTrust(() => loadTrust(options), options);
  await requireWritableState();
  // Before the questions: who isn't logged in is told at once.
  const { keep, accessToken } = await ownTokens(trust);
  const { hasPassword, oidcIssuer } = await accountSummary(trust, accessToken, callOptions());
  if (!hasPassword) {
    throw new CliError(EXIT.failure, 'your account has no password', {
      code: 'account.no_password',
      hint: 'you log in at your OpenID provider: change the password there',
    });
  }
  const fromStdin = options.passwordStdin === true;
  const { enabled } = await secondFactor(trust, accessToken, callOptions());
  const passwords = await askPasswordChange({ fromStdin });
  const unlinkIdentities = await wantsUnlinked(out, oidcIssuer, options);
  const oneTimeCode = enabled ? await askCode({ fromStdin }) : undefined;
  const { ended, tokens, linked, unlinked } = await changePassword(
    trust,
    accessToken,
    { ...passwords, oneTimeCode, unlinkIdentities },
    callOptions(),
  );
  await keep(tokens);
  out.done(`the password is changed; ${ended === 1 ? '1 other session' : `${ended} other sessions`} ended`);
  for (const { issuer } of unlinked) out.done(`your account is no longer linked to ${issuer}`);
  // It may have been linked while the questions were asked.
  for (const { issuer, linkedAt } of linked)
    out.warning(
      `your account can still be logged in to at ${issuer}, linked ${linkedAt.toISOString()}; to unlink it: sls account unlink`,
    );
  out.result({ changed: true, sessionsEnded: ended, linked: linked.map(toJson), unlinked: unlinked.map(toJson) }, []);
}

/** A password is changed because somebody may know it: whoever did may have linked the account to themselves. */
async function wantsUnlinked(out: Output, issuer: string | undefined, options: Options): Promise<boolean> {
  if (options.unlinkAll === true || issuer === undefined) return options.unlinkAll === true;
  if (options.passwordStdin === true) return false;
  out.note(
    `your account is linked to the OpenID provider ${issuer}, and can be logged in to there without the password`,
  );
  return askYes('Unlink it?');
}

function toJson({ issuer, linkedAt }: LinkedIdentity): { issuer: string; linkedAt: string } {
  return { issuer, linkedAt: linkedAt.toISOString() };
}
