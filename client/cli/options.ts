import { Option } from 'commander';
import type { Command } from 'commander';
import type { OutputOptions } from './output';
import type { TrustOptions } from './trust';

export type CommonOptions = OutputOptions & TrustOptions;

/** --quiet and, where there is a result, --json. */
export function addOutputOptions(command: Command, { json = true } = {}): Command {
  if (json) command.option('--json', 'print the result as JSON');
  return command.option('-q, --quiet', 'print only results and errors, no progress');
}

export function addTrustOptions(command: Command): Command {
  return command
    .option(
      '--trust <file>',
      "signed trust bundle (default: $SLS_TRUST, ~/.config/sls/trust-bundle.jws, this machine's sls up)",
    )
    .option('--trust-fingerprint <fingerprint>', 'fingerprint of its trust key, if not yet confirmed by sls trust add')
    .option(
      '--server <host>',
      'reach the services at signup.HOST and login.HOST; HOST[:PORT], with http:// in front for plaintext',
    );
}

export function addVerboseOption(command: Command): Command {
  return command.addOption(new Option('-v, --verbose', 'show each verification step and the values it checked'));
}

/** Help that ends in an example to copy. */
export function addExample(command: Command, ...lines: string[]): Command {
  return command.addHelpText('after', `\nExample:\n${lines.map((line) => `  ${line}`).join('\n')}`);
}
