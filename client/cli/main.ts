#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { addAdmin } from './admin/admin';
import { addCp } from './commands/cp';
import { addExec } from './commands/exec';
import { addLicence } from './commands/licence';
import { addLogin } from './commands/login';
import { addLogout } from './commands/logout';
import { addPasswd } from './commands/passwd';
import { addRedeem } from './commands/redeem';
import { addAuditCheck } from './commands/audit';
import { addAccount } from './commands/account';
import { addEnclaves } from './commands/enclaves';
import { addSeats } from './commands/seats';
import { addSessions } from './commands/sessions';
import { addSignup } from './commands/signup';
import { addStatus } from './commands/status';
import { addTotp } from './commands/totp';
import { addTrust } from './commands/trust';
import { addUp } from './commands/up';
import { addVerify } from './commands/verify';
import { requireArguments } from './arguments';
import { BROKEN_PIPE, EXIT, isBrokenPipe } from './exit';
import { toCliError } from './failure';
import { keepIgnored } from './ignored-signals';
import { Output } from './output';
import { traced } from './trace';
import type { Tracer } from '../../runtime/traces/tracer';

function buildProgram(tracer: Tracer): Command {
  const program = new Command('sls')
    .description('Work in an enclave that is attested before it receives any of your data.')
    .version('0.2.0')
    .enablePositionalOptions()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'sls: ')) })
    .showHelpAfterError('hint: sls --help, sls COMMAND --help')
    .exitOverride();
  for (const add of [
    addSignup,
    addLogin,
    addExec,
    addCp,
    addStatus,
    addLogout,
    addSessions,
    addEnclaves,
    addSeats,
    addPasswd,
    addTotp,
    addAccount,
    addRedeem,
    addLicence,
    addAuditCheck,
    addVerify,
    addTrust,
  ])
    add(program);
  addUp(program, tracer);
  addAdmin(program);
  return program.addHelpText(
    'after',
    `
Exit codes: 0 ok, 1 failure, 2 usage, 4 authentication, 5 attestation refused, 6 unavailable;
sls exec ends with the command's own status.

http_proxy, https_proxy, all_proxy and no_proxy count as in curl.

Example:
  sls up &                                  the service, on this machine
  sls signup --username ada
  sls login
  sls exec -- sha256sum - < thesis.pdf`,
  );
}

async function main(): Promise<number> {
  const args = process.argv.slice(2);
  keepIgnored();
  try {
    requireArguments(args);
    await traced((tracer) => buildProgram(tracer).parseAsync(args, { from: 'user' }));
    return Number(process.exitCode ?? EXIT.ok);
  } catch (error) {
    // Commander has said it already.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    if (isBrokenPipe(error)) return BROKEN_PIPE;
    const failure = toCliError(error);
    new Output({ json: args.includes('--json') }).failure(failure.message, failure.details, failure.exitCode);
    return failure.exitCode;
  }
}

for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error) => {
    // What streams to it has something to end in the enclave first.
    if (stream.listenerCount('error') > 1) return;
    process.exit(isBrokenPipe(error) ? BROKEN_PIPE : EXIT.failure);
  });
}
void main().then((code) => process.exit(code));
