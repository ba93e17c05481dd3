import type { Command } from 'commander';
import { decodeJwt } from 'jose';
import type { TrustBundle } from '../../../core/trust/bundle';
import { accountSummary, deleteAccount, secondFactor } from '../../index';
import { callOptions } from '../call-options';
import { confirmed } from '../confirmation';
import { CliError, EXIT } from '../exit';
import { LogMemory } from '../log-memory';
import { addExample, addOutputOptions, addTrustOptions } from '../options';
import type { CommonOptions } from '../options';
import { Output } from '../output';
import { ownAccessToken } from '../own-tokens';
import { askCode, confirmTyped } from '../prompt';
import { row } from '../report';
import { currentTrust, removeSession, sessionFiles } from '../session-file';
import { findTokens, removeTokenFile } from '../token-file';
import { loadTrust } from '../trust';

type Options = CommonOptions & { yes?: boolean; passwordStdin?: boolean };

/** `sls account …` */
export function addAccount(program: Command): void {
  const account = program.command('account').description('your account');
  const show = account.command('show').description('your name, id, and how you log in');
  addTrustOptions(addOutputOptions(show)).action(runShow);
  addExample(show, 'sls account show');
  const remove = account
    .command('delete')
    .description('delete your account for good: enclaves, files, sessions, licences; nothing that names you is kept')
    .option('--password-stdin', 'read the password, and on the next line a code where you have a second factor, from standard input')
    .option('--yes', 'without asking once more');
  addTrustOptions(addOutputOptions(remove)).action(runDelete);
  addExample(remove, 'sls account delete');
}

async function runShow(options: CommonOptions): Promise<void> {
  const trust = await currentTrust(() => loadTrust(options), options);
  const { user, username, hasPassword, oidcIssuer } = await accountSummary(trust, await ownAccessToken(trust), callOptions());
  const ways = [...(hasPassword ? ['password'] : []), ...(oidcIssuer === undefined ? [] : [`OpenID provider ${oidcIssuer}`])];
  const rows: Array<[string, string]> = [['username', username], ['user', user], ['logs in by', ways.join(', ')]];
  new Output(options).result({ username, user, hasPassword, ...(oidcIssuer !== undefined && { oidcIssuer }) }, rows.map(row));
}

async function runDelete(options: Options): Promise<void> {
  const out = new Output(options);
  const trust = await currentTrust(() => loadTrust(options), options);
  // Before the questions: who isn't logged in is told at once.
  const accessToken = await ownAccessToken(trust);
  const username = (await findTokens(trust, undefined, { anyEnclave: true }))?.username ?? '';
  const fromStdin = options.passwordStdin === true;
  if (fromStdin && !options.yes) throw new CliError(EXIT.usage, 'expected --yes where the password comes from standard input', { hint: 'nobody can be asked there' });
  if (!options.yes && !(await confirmTyped(`Delete the account ${username} with everything in it? Type its name: `, username))) {
    throw new CliError(EXIT.failure, 'the account is not deleted: another name was typed');
  }
  const { enabled } = await secondFactor(trust, accessToken, callOptions());
  const { enclavesRemoved } = await confirmed(out, trust, accessToken, options, async (by) => {
    const oneTimeCode = enabled ? await askCode(by) : undefined;
    out.progress('deleting the account');
    return deleteAccount(trust, by.accessToken, { password: by.password, oneTimeCode }, callOptions());
  });
  for (const file of await sessionFiles()) await removeSession(file);
  await removeTokenFile();
  const { sub } = decodeJwt(accessToken);
  if (sub !== undefined) await forgetLogins(trust, sub, out);
  out.done(`the account ${username} is deleted${enclavesRemoved ? '' : '; the service goes on removing its enclaves by itself'}`);
  out.result({ deleted: true, enclavesRemoved }, []);
}

async function forgetLogins(trust: TrustBundle, user: string, out: Output): Promise<void> {
  try {
    await (await LogMemory.of(trust)).forgetLogins(user);
  } catch (error) {
    // The account is deleted all the same.
    out.warning(`what this machine has of its logins can't be removed: ${(error as Error).message}`);
  }
}
