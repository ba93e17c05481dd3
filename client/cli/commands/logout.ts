import type { Command } from 'commander';
import { logOut } from '../../index';
import { endKilledLogins } from '../begun-login';
import { callOptions } from '../call-options';
import { addEnclaveOption } from '../chosen-enclave';
import { CliError, EXIT } from '../exit';
import { toCliError } from '../failure';
import { addExample, addOutputOptions } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { retryAfterRaces } from '../race';
import { loadSessionIfThere, readSession, removeSession, sessionFile, sessionFiles } from '../session-file';
import type { Services } from '../session-file';
import { isBadState, isUnwritable } from '../state';
import { withStateLock } from '../state-lock';
import { heldTokens, readTokenFile, removeTokenFile } from '../token-file';
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
  await tellUnreadable(files, out);
  await endKilledLogins();
  // First: whatever the service says, nothing stays here. Where something has to stay, it is ended all the same.
  let removed = false;
  const left: NodeJS.ErrnoException[] = [];
  const sessions = await withStateLock(async () => {
    const held = await heldSessions(files, { tokens: !one });
    for (const remove of [...(one ? [] : [removeTokenFile]), ...files.map((file) => () => removeSession(file))]) {
      try {
        removed = (await remove()) || removed;
      } catch (error) {
        if (!isUnwritable(error)) throw error;
        left.push(error as NodeJS.ErrnoException);
      }
    }
    return held;
  });
  let ended = 0;
  for (const { services, refreshToken } of sessions) {
    try {
      ended += await retryAfterRaces(() =>
        logOut(services, refreshToken, { ...callOptions(), all: options.all === true }),
      );
    } catch (error) {
      const failure = toCliError(error);
      // It was over already.
      if (/^login\.(session_ended|refresh_(invalid|reused))$/.test(failure.details.code ?? '')) continue;
      if (options.all) throw error;
      out.warning(
        `the session is removed here, but the service could not end it (${failure.message}); it expires there after 30 days without use`,
      );
    }
  }
  if (left.length > 0)
    throw new CliError(
      EXIT.failure,
      `can't remove ${left.map(({ path, code }) => `${path} (${code})`).join(', ')}; ${ended} ${ended === 1 ? 'session is' : 'sessions are'} ended at the service`,
      { code: 'state.unwritable', hint: 'remove it yourself: it holds a key and tokens' },
    );
  out.done(
    removed
      ? `logged out${options.all ? `: ${ended} ${ended === 1 ? 'session' : 'sessions'} ended` : ''}`
      : 'nobody was logged in',
  );
  out.result({ loggedOut: removed, sessionsEnded: ended }, []);
}

/** What can't be read is removed, and nobody can be told that it has ended. A session with an installation that is trusted no longer ends here. */
async function tellUnreadable(files: string[], out: Output): Promise<void> {
  const unread = (error: unknown): undefined => {
    if (isBadState(error))
      out.warning(
        `${error.message}; its service can't be told, and the session expires there after 30 days without use`,
      );
  };
  for (const file of files) await loadSessionIfThere(file).catch(unread);
  const trust = await loadTrust({}).catch(() => undefined);
  if (trust) await readTokenFile(trust).catch(unread);
}

interface Ending {
  services: Services;
  refreshToken: string;
}

/** The sessions of logins, and that of a sign-up that no login has followed yet, whichever services gave them. */
async function heldSessions(files: string[], { tokens }: { tokens: boolean }): Promise<Ending[]> {
  const held: Ending[] = [];
  for (const file of files) {
    const saved = await readSession(file).catch(() => undefined);
    if (saved?.session.refreshToken !== undefined)
      held.push({ services: saved.trust, refreshToken: saved.session.refreshToken });
  }
  const first = tokens ? await heldTokens() : undefined;
  if (first?.tokens.refreshToken !== undefined)
    held.push({ services: first.services, refreshToken: first.tokens.refreshToken });
  return held;
}
