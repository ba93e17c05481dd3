import type { Command } from 'commander';
import { dropLicence, listLicences, verifyLicence } from '../../index';
import { callOptions } from '../call-options';
import { readLicenceKey } from '../licence-key';
import { replaceLicence } from '../licence-notice';
import { describePlan, describeState } from '../licence-report';
import { addExample, addOutputOptions, addTrustOptions } from '../options';
import type { CommonOptions } from '../options';
import { Output } from '../output';
import { ownAccessToken } from '../own-tokens';
import { byOwnCredential } from '../own-credential';
import type { CredentialOptions } from '../own-credential';
import { currentTrust } from '../session-file';
import { loadTrust } from '../trust';

/** `sls licence …`: what one's account has, and what a key says. */
export function addLicence(program: Command): void {
  const licence = program
    .command('licence')
    .description('show your licences: what they allow, and until when')
    .enablePositionalOptions();
  addTrustOptions(addOutputOptions(licence)).action(runList);
  addExample(licence, 'sls licence');

  const show = licence
    .command('show')
    .description('verify a licence key offline, and show its contents')
    .argument('[key-file]', 'file with the licence key, or - for standard input (default: ask)');
  addTrustOptions(addOutputOptions(show)).action(runShow);
  addExample(show, 'sls licence show licence.txt');

  const drop = licence
    .command('drop')
    .description('give a licence back, so that another account can redeem it')
    .argument('<id>', 'as sls licence shows it')
    .option('-u, --username <name>', 'account to use (default: the one logged in)')
    .option(
      '--password-stdin',
      'if not logged in: read the password from standard input, and on the next line a code if you have a second factor',
    );
  addTrustOptions(addOutputOptions(drop)).action(runDrop);
  addExample(drop, 'sls licence drop 7d4b2f0c-…');
}

async function runList(options: CommonOptions): Promise<void> {
  const trust = await currentTrust(() => loadTrust(options), options);
  const { licences, required } = await listLicences(trust, await ownAccessToken(trust), callOptions());
  const none = `no licence: ${required ? 'you need one to log in' : 'you have what the operator gives everyone'}`;
  const lines = licences.flatMap(({ licence, plan, until, graceUntil, state, applies }) => [
    `${licence}  ${plan.name}  ${describeState(state, until, graceUntil)}${applies ? '  this one counts' : ''}`,
    ...describePlan(plan),
  ]);
  new Output(options).result({ licences, required }, licences.length === 0 ? [none] : lines);
}

async function runShow(file: string | undefined, options: CommonOptions): Promise<void> {
  const key = await readLicenceKey(file);
  const trust = await currentTrust(() => loadTrust(options), options);
  const terms = await verifyLicence(trust, key);
  const { licence, plan, until, graceDays, accounts } = terms;
  new Output(options).result({ ...terms, trustDomain: trust.trustDomain }, [
    `${licence}  ${plan.name}  of ${trust.trustDomain}, until ${until.toISOString()}`,
    ...describePlan(plan),
    `    accounts     ${accounts}`,
    `    grace days   ${graceDays}`,
  ]);
}

async function runDrop(id: string, options: CommonOptions & CredentialOptions): Promise<void> {
  const out = new Output(options);
  const trust = await currentTrust(() => loadTrust(options), options);
  await byOwnCredential(trust, options, out, (credential) => dropLicence(trust, credential, id, callOptions()));
  await replaceLicence(trust, undefined, options.username);
  out.done(`licence ${id} is given back`);
  out.result({ licence: id, dropped: true }, []);
}
