import type { Command } from 'commander';
import { addEnclaveOption } from '../chosen-enclave';
import { connectSaved } from '../connection';
import { addExample, addOutputOptions, addVerboseOption } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { describeSession, row } from '../report';
import { loadSession } from '../session-file';

interface Options extends OutputOptions {
  connect?: boolean;
  verbose?: boolean;
}

/** `sls status`: who is logged in, where, until when, and what the enclave's evidence says. */
export function addStatus(program: Command): void {
  const command = program
    .command('status')
    .description('show who is logged in, where, until when, and the verified claims')
    .option('--connect', 'verify the enclave again, connect, and query its health');
  addEnclaveOption(addVerboseOption(addOutputOptions(command))).action(run);
  addExample(command, 'sls status --json');
}

async function run(options: Options): Promise<void> {
  const out = new Output(options);
  if (!options.connect) {
    const { json, lines } = describeSession(await loadSession());
    out.result(json, lines);
    return;
  }
  const connection = await connectSaved(out, { verbose: options.verbose, seat: false });
  try {
    const { startedAt, sessions, commands } = await connection.status();
    const live = { startedAt: new Date(Number(startedAt) * 1000).toISOString(), sessions, commands };
    const { json, lines } = describeSession(await loadSession());
    out.result({ ...(json as object), live }, [...lines, ...Object.entries(live).map(row)]);
  } finally {
    await connection.end();
  }
}
