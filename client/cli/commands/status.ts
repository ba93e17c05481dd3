import { Option } from 'commander';
import type { Command } from 'commander';
import { addEnclaveOption } from '../chosen-enclave';
import { connectSaved } from '../connection';
import { EXIT } from '../exit';
import { LOG_IN_AGAIN } from '../failures/services';
import { addExample, addOutputOptions, addVerboseOption } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { describeSession, row } from '../report';
import { loadSession } from '../session-file';
import { describeStanding, standingOf } from '../standing';

interface Options extends OutputOptions {
  connect?: boolean;
  offline?: boolean;
  verbose?: boolean;
}

/** `sls status`: who is logged in, where, until when, and what the enclave's evidence says. */
export function addStatus(program: Command): void {
  const command = program
    .command('status')
    .description(
      'show who is logged in, where, until when, and the verified claims; exits with 4 if the session has ended',
    )
    .option('--connect', 'verify the enclave again, connect, and query its health')
    .addOption(
      new Option('--offline', 'show what is saved, without asking the service whether it is still good').conflicts(
        'connect',
      ),
    );
  addEnclaveOption(addVerboseOption(addOutputOptions(command))).action(run);
  addExample(command, 'sls status --json');
}

async function run(options: Options): Promise<void> {
  const out = new Output(options);
  if (!options.connect) return report(out, options);
  const connection = await connectSaved(out, { verbose: options.verbose, seat: false });
  try {
    const { startedAt, sessions, commands } = await connection.status();
    await report(out, options, { startedAt: new Date(Number(startedAt) * 1000).toISOString(), sessions, commands });
  } finally {
    await connection.end();
  }
}

/** @param live what the enclave says of itself */
async function report(out: Output, options: Options, live?: Record<string, unknown>): Promise<void> {
  const saved = await loadSession();
  const standing = await standingOf(saved, { offline: options.offline === true });
  const { json, lines } = describeSession(await loadSession(), describeStanding(standing));
  out.result({ ...json, ...(live && { live }) }, [...lines, ...Object.entries(live ?? {}).map(row)]);
  const { session, reason = '' } = standing;
  if (session === 'ended') {
    // The result is a document already.
    new Output({ ...options, json: false }).failure(reason, { hint: LOG_IN_AGAIN }, EXIT.authentication);
    process.exitCode = EXIT.authentication;
  } else if (session === 'unknown' && options.offline !== true)
    out.warning(`whether the session is still good is not known: ${reason}`);
}
