import type { Command } from 'commander';
import { redeemLicence, verifyLicence } from '../../index';
import { callOptions } from '../call-options';
import { CliError, EXIT } from '../exit';
import { readLicenceKey } from '../licence-key';
import { replaceLicence } from '../licence-notice';
import { describePlan, describeState } from '../licence-report';
import { addExample, addOutputOptions, addTrustOptions } from '../options';
import type { CommonOptions } from '../options';
import { Output } from '../output';
import { byOwnCredential } from '../own-credential';
import type { CredentialOptions } from '../own-credential';
import { currentTrust } from '../session-file';
import { loadTrust } from '../trust';

type Options = CommonOptions & CredentialOptions;

/** `sls redeem`: gives the licence of a key to one's account. */
export function addRedeem(program: Command): void {
  const command = program
    .command('redeem')
    .description('redeem a licence key for your account')
    .argument('[key-file]', 'file with the licence key, or - for standard input (default: ask)')
    .option('-u, --username <name>', 'account to use (default: the one logged in)')
    .option(
      '--password-stdin',
      'if not logged in: read the password from standard input, and on the next line a code if you have a second factor',
    );
  addTrustOptions(addOutputOptions(command)).action(run);
  addExample(command, 'sls redeem licence.txt');
}

async function run(file: string | undefined, options: Options): Promise<void> {
  const out = new Output(options);
  if (file === '-' && options.passwordStdin)
    throw new CliError(EXIT.usage, 'expected the licence key in a file when the password comes from standard input');
  const key = await readLicenceKey(file);
  const trust = await currentTrust(() => loadTrust(options), options);
  // What is forged is not sent, and costs no password; a bundle of before there were licences can't tell.
  if (trust.licenceKeys) await verifyLicence(trust, key);
  const { licence, changed } = await byOwnCredential(trust, options, out, (credential) =>
    redeemLicence(trust, credential, key, callOptions()),
  );
  const { plan, until, graceUntil, state } = licence;
  await replaceLicence(
    trust,
    {
      licence: licence.licence,
      plan: plan.name,
      until: until.getTime() / 1000,
      graceUntil: graceUntil.getTime() / 1000,
    },
    options.username,
  );
  out.done(
    `licence ${licence.licence} ${changed ? 'is yours' : 'was yours already'}: ${plan.name}, ${describeState(state, until, graceUntil)}; it counts from your next login on`,
  );
  out.result({ ...licence, changed }, describePlan(plan));
}
