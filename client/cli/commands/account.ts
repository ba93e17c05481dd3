import type { Command } from 'commander';
import { decodeJwt } from 'jose';
import type { TrustBundle } from '../../../attestation/trust/bundle';
import { accountSummary, deleteAccount, linkIdentity, secondFactor, unlinkIdentity } from '../../index';
import { callOptions } from '../call-options';
import { withConfirmation } from '../confirmation';
import { CliError, EXIT } from '../exit';
import { LogMemory } from '../log-memory';
import { askProvider } from '../oidc';
import { addExample, addOutputOptions, addTrustOptions } from '../options';
import type { CommonOptions } from '../options';
import { Output } from '../output';
import { ownAccessToken, ownTokens } from '../own-tokens';
import { askCode, confirmTyped } from '../prompt';
import { row } from '../report';
import { currentTrust, removeSession, sessionFiles } from '../session-file';
import { removeIfWritable } from '../state';
import { findTokens, removeTokenFile } from '../token-file';
import { loadTrust } from '../trust';
import { TrustMemory } from '../trust-memory';

type Options = CommonOptions & { yes?: boolean; passwordStdin?: boolean };

/** `sls account …` */
export function addAccount(program: Command): void {
  const account = program.command('account').description('manage your account');
  const show = account.command('show').description('show your username, id, and login methods');
  addTrustOptions(addOutputOptions(show)).action(runShow);
  addExample(show, 'sls account show');
  const link = account
    .command('link')
    .description(
      'link your account to your identity at the OpenID provider, so that sls login --oidc works beside the password',
    );
  const unlink = account.command('unlink').description('unlink your account from the OpenID provider');
  for (const [command, action] of [
    [link, runLink],
    [unlink, runUnlink],
  ] as const) {
    command.option(
      '--password-stdin',
      'read the password from standard input, and on the next line a code if you have a second factor',
    );
    addTrustOptions(addOutputOptions(command)).action(action);
  }
  addExample(link, 'sls account link');
  addExample(unlink, 'sls account unlink');
  const remove = account
    .command('delete')
    .description(
      'delete your account permanently, with enclaves, files, sessions and licences; nothing that names you is kept',
    )
    .option(
      '--password-stdin',
      'read the password from standard input, and on the next line a code if you have a second factor',
    )
    .option('--yes', 'skip the confirmation');
  addTrustOptions(addOutputOptions(remove)).action(runDelete);
  addExample(remove, 'sls account delete');
}

async function runShow(options: CommonOptions): Promise<void> {
  const trust = await currentTrust(() => loadTrust(options), options);
  const { user, username, hasPassword, oidcIssuer } = await accountSummary(
    trust,
    await ownAccessToken(trust),
    callOptions(),
  );
  const ways = [
    ...(hasPassword ? ['password'] : []),
    ...(oidcIssuer === undefined ? [] : [`OpenID provider ${oidcIssuer}`]),
  ];
  const rows: Array<[string, string]> = [
    ['username', username],
    ['user', user],
    ['logs in by', ways.join(', ')],
  ];
  new Output(options).result(
    { username, user, hasPassword, ...(oidcIssuer !== undefined && { oidcIssuer }) },
    rows.map(row),
  );
}

/** The password before the browser: an ID token is good for minutes. */
async function runLink(options: Options): Promise<void> {
  const out = new Output(options);
  const trust = await currentTrust(() => loadTrust(options), options);
  const own = await ownTokens(trust);
  const { accessToken } = own;
  const { oidcIssuer } = await accountSummary(trust, accessToken, callOptions());
  if (oidcIssuer !== undefined)
    throw new CliError(EXIT.failure, `your account is already linked to ${oidcIssuer}`, {
      code: 'oidc.already_bound',
      hint: 'to unlink it: sls account unlink',
    });
  const { enabled } = await secondFactor(trust, accessToken, callOptions());
  const issuer = await withConfirmation(out, trust, own, options, async (by) => {
    const idToken = await askProvider(trust, out, options);
    out.finish();
    const oneTimeCode = enabled ? await askCode(by) : undefined;
    return linkIdentity(trust, by.accessToken, { idToken, password: by.password, oneTimeCode }, callOptions());
  });
  out.done(`your account is linked to ${issuer}: log in with sls login --oidc`);
  out.result({ oidcIssuer: issuer }, []);
}

async function runUnlink(options: Options): Promise<void> {
  const out = new Output(options);
  const trust = await currentTrust(() => loadTrust(options), options);
  const own = await ownTokens(trust);
  const { accessToken } = own;
  const { oidcIssuer, hasPassword } = await accountSummary(trust, accessToken, callOptions());
  if (oidcIssuer === undefined)
    throw new CliError(EXIT.failure, 'your account is not linked to an OpenID provider', { code: 'oidc.not_bound' });
  if (!hasPassword)
    throw new CliError(EXIT.failure, 'your account has no password: without the OpenID provider you could not log in', {
      code: 'account.no_password',
    });
  const { enabled } = await secondFactor(trust, accessToken, callOptions());
  await withConfirmation(out, trust, own, options, async (by) => {
    const oneTimeCode = enabled ? await askCode(by) : undefined;
    await unlinkIdentity(trust, by.accessToken, { password: by.password, oneTimeCode }, callOptions());
  });
  out.done(`your account is no longer linked to ${oidcIssuer}`);
  out.result({ unlinked: true }, []);
}

async function runDelete(options: Options): Promise<void> {
  const out = new Output(options);
  const trust = await currentTrust(() => loadTrust(options), options);
  // Before the questions: who isn't logged in is told at once.
  const own = await ownTokens(trust);
  const { accessToken } = own;
  const username = (await findTokens(trust, undefined, { anyEnclave: true }))?.username ?? '';
  const fromStdin = options.passwordStdin === true;
  if (fromStdin && !options.yes)
    throw new CliError(EXIT.usage, 'expected --yes with --password-stdin', {
      hint: 'there is no terminal to confirm on',
    });
  if (
    !options.yes &&
    !(await confirmTyped(`Delete the account ${username} with everything in it? Type its name: `, username))
  ) {
    throw new CliError(EXIT.failure, 'the account is not deleted: another name was typed');
  }
  const { enabled } = await secondFactor(trust, accessToken, callOptions());
  const { enclavesRemoved } = await withConfirmation(out, trust, own, options, async (by) => {
    const oneTimeCode = enabled ? await askCode(by) : undefined;
    out.progress('deleting the account');
    const { password, refreshToken } = by;
    return deleteAccount(trust, by.accessToken, { password, refreshToken, oneTimeCode }, callOptions());
  });
  for (const file of await sessionFiles()) await removeIfWritable(out, () => removeSession(file));
  await removeIfWritable(out, removeTokenFile);
  const { sub } = decodeJwt(accessToken);
  if (sub !== undefined) await forgetLogins(trust, sub, out);
  const memory = await TrustMemory.of(trust);
  await removeIfWritable(out, () => memory.forgetUser(username));
  out.done(
    `the account ${username} is deleted${enclavesRemoved ? '' : '; the service is still removing its enclaves'}`,
  );
  out.result({ deleted: true, enclavesRemoved }, []);
}

async function forgetLogins(trust: TrustBundle, user: string, out: Output): Promise<void> {
  try {
    await (await LogMemory.of(trust)).forgetLogins(user);
  } catch (error) {
    // The account is deleted all the same.
    out.warning(`this machine's records of its logins can't be removed: ${(error as Error).message}`);
  }
}
