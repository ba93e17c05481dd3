import type { Command } from 'commander';
import { addExample, addOutputOptions } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { removeSession } from '../session-file';
import { removeToken } from '../token-file';

/** `sls logout`: removes keys and tokens from this machine. The enclave ends by itself when nobody uses it. */
export function addLogout(program: Command): void {
  const command = program.command('logout').description('remove the keys and tokens of the session from this machine');
  addOutputOptions(command).action(run);
  addExample(command, 'sls logout');
}

async function run(options: OutputOptions): Promise<void> {
  const out = new Output(options);
  const session = await removeSession();
  const token = await removeToken();
  out.done(session || token ? 'logged out' : 'nobody was logged in');
  out.result({ loggedOut: session || token }, []);
}
