#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { addAdmin } from './admin/admin';
import { addCp } from './commands/cp';
import { addExec } from './commands/exec';
import { addForward } from './commands/forward';
import { addLicence } from './commands/licence';
import { addLogin } from './commands/login';
import { addLogout } from './commands/logout';
import { addPasswd } from './commands/passwd';
import { addProxy } from './commands/proxy';
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
import { outputFailure, outputWritten, watchOutput, writeOutput } from './standard-output';
import { Output } from './output';
import { traced } from './trace';
import { versionText } from './version';
import type { Tracer } from '../../runtime/traces/tracer';

function buildProgram(tracer: Tracer): Command {
  const program = new Command('sls')
    .description('Work in an enclave that is attested before it receives any of your data.')
    // Before any other option is read, because the command ends with it.
    .version(
      versionText(process.argv.includes('--json')),
      '-V, --version',
      'print the version and its commit; with --json, as JSON',
    )
    .enablePositionalOptions()
    .configureOutput({ writeOut: writeOutput, outputError: (text, write) => write(text.replace(/^error: /, 'sls: ')) })
    .showHelpAfterError('hint: sls --help, sls COMMAND --help')
    .exitOverride();
  for (const add of [
    addSignup,
    addLogin,
    addExec,
    addCp,
    addForward,
    addProxy,
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

async function main(args: string[]): Promise<number> {
  keepIgnored();
  try {
    requireArguments(args);
    await traced((tracer) => buildProgram(tracer).parseAsync(args, { from: 'user' }));
    return Number(process.exitCode ?? EXIT.ok);
  } catch (error) {
    return fail(outputFailure(error), args);
  }
}

/** Says what failed. @returns the exit code */
function fail(error: unknown, args: readonly string[]): number {
  if (isBrokenPipe(error)) return BROKEN_PIPE;
  const json = wantsJson(args);
  if (!(error instanceof CommanderError)) {
    const { message, details, exitCode } = toCliError(error);
    new Output({ json }).failure(message, details, exitCode);
    return exitCode;
  }
  if (error.exitCode === 0) return EXIT.ok;
  // Commander has said it already, to a person.
  const message = error.message.replace(/^error: /, '');
  if (json) new Output({ json }).result({ error: { message, code: 'sls.usage', exitCode: EXIT.usage } }, []);
  return EXIT.usage;
}

/** Whether errors are documents as well. What stands behind `--`, or behind a command of the enclave, is not for us. */
function wantsJson(args: readonly string[]): boolean {
  const end = args.indexOf('--');
  return args[0] !== 'exec' && (end === -1 ? args : args.slice(0, end)).includes('--json');
}

/** No result is taken for written before it is. */
async function run(args: string[]): Promise<number> {
  const code = await main(args);
  try {
    await outputWritten();
    return code;
  } catch (error) {
    if (code !== EXIT.ok) return code;
    return fail(error, args);
  }
}

const args = process.argv.slice(2);
watchOutput();
process.stderr.on('error', (error) => {
  // What streams to it has something to end in the enclave first. That nobody can read what is said is no reason to leave work half done.
  if (process.stderr.listenerCount('error') === 1 && isBrokenPipe(error)) process.exit(BROKEN_PIPE);
});
// Standard error carries our lines alone: Node's own are for who develops with it.
process.removeAllListeners('warning');
process.on('uncaughtException', (error) => process.exit(fail(outputFailure(error), args) || EXIT.failure));
void run(args).then((code) => process.exit(code));
