import type { Command } from 'commander';
import type { TrustBundle } from '../../../attestation/trust/bundle';
import { logOut } from '../../index';
import { callOptions } from '../call-options';
import { addEnclaveOption } from '../chosen-enclave';
import { CliError, EXIT } from '../exit';
import { toCliError } from '../failure';
import { addExample, addOutputOptions } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { loadSessionIfThere, removeSession, sessionFile, sessionFiles } from '../session-file';
import { readTokenFile, removeTokenFile } from '../token-file';
import { loadTrust } from '../trust';

interface Options extends OutputOptions {
  all?: boolean;
  enclave?: string;
}

/** `sls logout`: ends the session on the service and removes its keys and tokens from this machine. The enclave ends by itself when nobody uses it. */
export function addLogout(program: Command): void {
  const command = program
    .command('logout')
    .description(
      "end your sessions on this machine and remove their keys and tokens; with --enclave, only that enclave's",
    )
    .option('--all', 'end all your sessions, on every machine');
  addEnclaveOption(addOutputOptions(command)).action(run);
  addExample(command, 'sls logout', 'sls logout --enclave gpu-lab', 'sls logout --all');
}

async function run(options: Options, command: Command): Promise<void> {
  const out = new Output(options);
  if (options.all && command.getOptionValueSource('enclave') === 'cli')
    throw new CliError(EXIT.usage, 'expected --all or --enclave, got both');
  // What the environment says of enclaves is a preference; --all was asked for.
  const one = !options.all && options.enclave !== undefined;
  const files = one ? [sessionFile()] : await sessionFiles();
  const sessions = await ownSessions(files);
  // First: whatever the service says, nothing stays here.
  let removed = !one && (await removeTokenFile());
  for (const file of files) removed = (await removeSession(file)) || removed;
  let ended = 0;
  for (const { trust, refreshToken } of sessions) {
    try {
      ended += await logOut(trust, refreshToken, { ...callOptions(), all: options.all === true });
    } catch (error) {
      const failure = toCliError(error);
      // It was over already.
      if (/^login\.(session_ended|refresh_)/.test(failure.details.code ?? '')) continue;
      if (options.all) throw error;
      out.warning(
        `the session is removed here, but the service could not end it (${failure.message}); it expires there after 30 days without use`,
      );
    }
  }
  out.done(
    removed
      ? `logged out${options.all ? `: ${ended} ${ended === 1 ? 'session' : 'sessions'} ended` : ''}`
      : 'nobody was logged in',
  );
  out.result({ loggedOut: removed, sessionsEnded: ended }, []);
}

/** The sessions of logins, and that of a sign-up that no login has followed yet. */
async function ownSessions(files: string[]): Promise<Array<{ trust: TrustBundle; refreshToken: string }>> {
  const sessions: Array<{ trust: TrustBundle; refreshToken: string }> = [];
  for (const file of files) {
    const saved = await loadSessionIfThere(file).catch(() => undefined);
    if (saved?.session.refreshToken !== undefined)
      sessions.push({ trust: saved.trust, refreshToken: saved.session.refreshToken });
  }
  const trust = await loadTrust({}).catch(() => undefined);
  const first = trust && (await readTokenFile(trust));
  if (trust && first?.refreshToken !== undefined) sessions.push({ trust, refreshToken: first.refreshToken });
  return sessions;
}
