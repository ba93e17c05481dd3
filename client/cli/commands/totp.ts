import type { Command } from 'commander';
import type { TrustBundle } from '../../../attestation/trust/bundle';
import {
  beginSecondFactor,
  confirmSecondFactor,
  disableSecondFactor,
  renewRecoveryCodes,
  RpcError,
  secondFactor,
} from '../../index';
import type { BothFactors, SecondFactorSecret, SessionTokens } from '../../index';
import { callOptions } from '../call-options';
import { withConfirmation } from '../confirmation';
import { CliError, EXIT } from '../exit';
import { addExample, addOutputOptions, addTrustOptions } from '../options';
import type { CommonOptions } from '../options';
import { Output } from '../output';
import { ownTokens } from '../own-tokens';
import { askCode } from '../prompt';
import { qrCode } from '../qr-code';
import { outputWritten } from '../standard-output';
import { currentTrust } from '../session-file';
import { loadTrust } from '../trust';

interface Options extends CommonOptions {
  passwordStdin?: boolean;
}

/** On a terminal a code may be mistyped. */
const TRIES = 3;

/** `sls totp …`: one-time codes of an authenticator as a second factor. */
export function addTotp(program: Command): void {
  const totp = program
    .command('totp')
    .description('manage your second factor: one-time codes from an authenticator app');
  const withFactors = (
    name: string,
    description: string,
    codes: string,
    action: (options: Options) => Promise<void>,
  ): Command => {
    const command = totp
      .command(name)
      .description(description)
      .option('--password-stdin', `read the password from standard input, and on the next line ${codes}`);
    addTrustOptions(addOutputOptions(command)).action(action);
    return command;
  };
  addExample(
    withFactors('enable', 'set up an authenticator app; logins require its codes from then on', 'a code', runEnable),
    'sls totp enable',
  );
  addExample(
    withFactors('disable', 'disable the second factor', 'a code or a recovery code', runDisable),
    'sls totp disable',
  );
  addExample(
    withFactors(
      'recovery-codes',
      'generate new recovery codes; the old ones stop working',
      'a code or a recovery code',
      runRecoveryCodes,
    ),
    'sls totp recovery-codes',
  );
  const status = totp.command('status').description('show whether you have a second factor');
  addTrustOptions(addOutputOptions(status)).action(runStatus);
  addExample(status, 'sls totp status');
}

interface Caller {
  out: Output;
  trust: TrustBundle;
  own: Pick<SessionTokens, 'accessToken' | 'refreshToken'>;
}

/** Who isn't logged in is told before any question. */
async function callerOf(options: Options): Promise<Caller> {
  const trust = await currentTrust(() => loadTrust(options), options);
  return { out: new Output(options), trust, own: await ownTokens(trust) };
}

async function runEnable(options: Options): Promise<void> {
  const { out, trust, own } = await callerOf(options);
  if ((await secondFactor(trust, own.accessToken, callOptions())).enabled) {
    throw new CliError(EXIT.failure, 'you already have a second factor', {
      code: 'account.second_factor_enabled',
      hint: 'to switch authenticators: sls totp disable, then sls totp enable',
    });
  }
  const recoveryCodes = await withConfirmation(
    out,
    trust,
    own,
    options,
    async ({ accessToken, fromStdin, ...confirmation }) => {
      await show(await beginSecondFactor(trust, accessToken, confirmation, callOptions()), options);
      return confirm({ out, trust, own: { accessToken } }, fromStdin);
    },
  );
  out.done('logins now require a code from your authenticator');
  await tellRecoveryCodes(out, recoveryCodes, { enabled: true, recoveryCodes });
}

/** On the terminal, never on standard output: what follows there is a result. */
async function show({ uri, secret }: SecondFactorSecret, { json }: Options): Promise<void> {
  const spaced = secret.replace(/(.{4})(?=.)/g, '$1 ');
  const picture =
    process.stderr.isTTY && json !== true
      ? ['Scan this with your authenticator app:', '', ...(await qrCode(uri)), '']
      : [];
  process.stderr.write([...picture, `Secret, for manual entry: ${spaced}`, uri, ''].join('\n'));
}

async function confirm({ out, trust, own }: Caller, fromStdin: boolean): Promise<string[]> {
  for (let left = fromStdin ? 1 : TRIES; ; left--) {
    try {
      return await confirmSecondFactor(trust, own.accessToken, await askCode({ fromStdin }), callOptions());
    } catch (error) {
      if (!(error instanceof RpcError && error.code === 'login.second_factor_wrong')) throw error;
      // The usual hint speaks of recovery codes, and there are none yet.
      if (left === 1)
        throw new CliError(
          EXIT.authentication,
          'the code is wrong: you have no second factor yet',
          {
            code: error.code,
            hint: "is this machine's and your authenticator's clock right? To start over: sls totp enable",
          },
          { cause: error },
        );
      out.warning("the code is wrong: is this machine's and your authenticator's clock right?");
    }
  }
}

/** They are the account's already: where standard output takes none, they are shown where the rest is. */
async function tellRecoveryCodes(out: Output, recoveryCodes: string[], json: unknown): Promise<void> {
  out.note(
    'recovery codes, each valid once in place of a code. Keep them apart from your authenticator; they are not shown again:',
  );
  out.result(json, recoveryCodes);
  await outputWritten().catch((error: unknown) => {
    for (const code of recoveryCodes) out.warning(`recovery code: ${code}`);
    throw error;
  });
}

async function runDisable(options: Options): Promise<void> {
  const { out, trust, own } = await callerOf(options);
  await byBoth({ out, trust, own }, options, (by, factors) => disableSecondFactor(trust, by, factors, callOptions()));
  out.done('logins no longer require a code');
  out.result({ enabled: false }, []);
}

async function runRecoveryCodes(options: Options): Promise<void> {
  const { out, trust, own } = await callerOf(options);
  const recoveryCodes = await byBoth({ out, trust, own }, options, (by, factors) =>
    renewRecoveryCodes(trust, by, factors, callOptions()),
  );
  await tellRecoveryCodes(out, recoveryCodes, { recoveryCodes });
}

async function byBoth<T>(
  { out, trust, own }: Caller,
  options: Options,
  work: (accessToken: string, factors: BothFactors) => Promise<T>,
): Promise<T> {
  if (!(await secondFactor(trust, own.accessToken, callOptions())).enabled) {
    throw new CliError(EXIT.failure, 'you have no second factor', {
      code: 'account.second_factor_disabled',
      hint: 'set one up with sls totp enable',
    });
  }
  return withConfirmation(out, trust, own, options, async ({ accessToken: by, fromStdin, ...confirmation }) =>
    work(by, { ...confirmation, oneTimeCode: await askCode({ fromStdin }) }),
  );
}

async function runStatus(options: CommonOptions): Promise<void> {
  const { out, trust, own } = await callerOf(options);
  const { enabled, enabledAt, recoveryCodes } = await secondFactor(trust, own.accessToken, callOptions());
  const text = enabledAt
    ? `enabled since ${enabledAt.toISOString()}; ${recoveryCodes} ${recoveryCodes === 1 ? 'recovery code' : 'recovery codes'} left`
    : 'no second factor';
  out.result({ enabled, ...(enabledAt && { enabledAt: enabledAt.toISOString(), recoveryCodes }) }, [text]);
}
