import type { Command } from 'commander';
import { userOfToken } from '../../identity';
import { signUp } from '../../index';
import { callOptions } from '../call-options';
import { addExample, addOutputOptions, addTrustOptions } from '../options';
import type { CommonOptions } from '../options';
import { keepTokens } from '../keep-login';
import { Output } from '../output';
import { askPassword, askUsername } from '../prompt';
import { endAtService } from '../session-file';
import { requireWritableState } from '../state';
import { loadTrust } from '../trust';
import { TrustMemory } from '../trust-memory';

interface Options extends CommonOptions {
  username?: string;
  passwordStdin?: boolean;
}

/** `sls signup`: makes an account; the token that comes back is kept for the first login. */
export function addSignup(program: Command): void {
  const command = program
    .command('signup')
    .description('create an account')
    .option('-u, --username <name>', 'your username (default: ask)')
    .option('--password-stdin', 'read the password from standard input instead of the terminal');
  addTrustOptions(addOutputOptions(command)).action(run);
  addExample(command, 'sls signup --username ada', 'sls signup --username ada --password-stdin < password.txt');
}

async function run(options: Options): Promise<void> {
  const out = new Output(options);
  const trust = await loadTrust(options);
  await requireWritableState();
  const username = await askUsername(options.username);
  const password = await askPassword({ fromStdin: options.passwordStdin === true, twice: true });
  out.progress('signing up');
  const tokens = await signUp(trust, { username, password }, callOptions());
  await keepTokens(trust, { username, ...tokens }).catch(async (error: unknown) => {
    if (tokens.refreshToken !== undefined) await endAtService(trust, tokens.refreshToken);
    throw error;
  });
  const user = userOfToken(tokens.accessToken);
  if (user !== undefined) await (await TrustMemory.of(trust)).rememberUser(username, user);
  out.done(`signed up as ${username}`);
  out.result({ username, expiresAt: new Date(tokens.accessTokenExpiresAt * 1000).toISOString() }, []);
}
