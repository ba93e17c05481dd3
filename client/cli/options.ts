import { Option } from 'commander';
import type { Command } from 'commander';
import type { OutputOptions } from './output';
import type { TrustOptions } from './trust';

export type CommonOptions = OutputOptions & TrustOptions;

/** --quiet and, where there is a result, --json. */
export function addOutputOptions(command: Command, { json = true } = {}): Command {
  if (json) command.option('--json', 'print the result as JSON');
  return command.option('-q, --quiet', 'no progress, only results and errors');
}

export function addTrustOptions(command: Command): Command {
  return command
    .option(
      '--trust <file>',
      "signed trust bundle (default: $SLS_TRUST, ~/.config/sls/trust-bundle.jws, this machine's sls up)",
    )
    .option('--trust-fingerprint <fingerprint>', 'of its trust key, where sls trust add has not compared it')
    .option(
      '--server <host>',
      'reach the services at signup.HOST and login.HOST, HOST[:PORT] with http:// in front where there is no TLS',
    );
}

export function addVerboseOption(command: Command): Command {
  return command.addOption(new Option('-v, --verbose', 'show every step of the verification with what was seen'));
}

/** Help that ends in an example to copy. */
export function addExample(command: Command, ...lines: string[]): Command {
  return command.addHelpText('after', `\nExample:\n${lines.map((line) => `  ${line}`).join('\n')}`);
}
