import type { Command } from 'commander';
import { accountSummary, changePassword, secondFactor } from '../../index';
import { callOptions } from '../call-options';
import { CliError, EXIT } from '../exit';
import { addExample, addOutputOptions, addTrustOptions } from '../options';
import type { CommonOptions } from '../options';
import { Output } from '../output';
import { ownTokens } from '../own-tokens';
import { askCode, askPasswordChange } from '../prompt';
import { currentTrust } from '../session-file';
import { requireWritableState } from '../state';
import { loadTrust } from '../trust';

interface Options extends CommonOptions {
  passwordStdin?: boolean;
}

/** `sls passwd`: changes the password; all other sessions end. */
export function addPasswd(program: Command): void {
  const command = program
    .command('passwd')
    .description('change your password; all your other sessions end')
    .option(
      '--password-stdin',
      'read the old password, the new password, and a code if you have a second factor from standard input, one per line',
    );
  addTrustOptions(addOutputOptions(command)).action(run);
  addExample(command, 'sls passwd');
}

async function run(options: Options): Promise<void> {
  const out = new Output(options);
  const trust = await currentTrust(() => loadTrust(options), options);
  await requireWritableState();
  // Before the questions: who isn't logged in is told at once.
  const { keep, accessToken, accessTokenExpiresAt } = await ownTokens(trust);
  if (!(await accountSummary(trust, accessToken, callOptions())).hasPassword) {
    throw new CliError(EXIT.failure, 'your account has no password', {
      code: 'account.no_password',
      hint: 'you log in at your OpenID provider: change the password there',
    });
  }
  const fromStdin = options.passwordStdin === true;
  const { enabled } = await secondFactor(trust, accessToken, callOptions());
  const passwords = await askPasswordChange({ fromStdin });
  const oneTimeCode = enabled ? await askCode({ fromStdin }) : undefined;
  const { ended, ...renewed } = await changePassword(trust, accessToken, { ...passwords, oneTimeCode }, callOptions());
  await keep({ accessToken, accessTokenExpiresAt, ...renewed });
  out.done(`the password is changed; ${ended === 1 ? '1 other session' : `${ended} other sessions`} ended`);
  out.result({ changed: true, sessionsEnded: ended }, []);
}
