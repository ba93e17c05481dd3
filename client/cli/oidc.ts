import { logInByDevice, exchangeIdToken, oidcSettings } from '../index';
import type { DeviceCode, OidcLogin, TrustBundle } from '../index';
import { comparingClocks } from '../clocks';
import { callOptions } from './call-options';
import { CliError, EXIT } from './exit';
import { interruptible } from './interrupt';
import { printable } from './output';
import type { Output, OutputOptions } from './output';
import { qrCode } from './qr-code';
import { withSecondFactor } from './second-factor';
import { systemClock } from '../../runtime/clock';

/**
 * Has the user log in at the OpenID provider of the service, and begins a session by that.
 * @param username what an account that is not there yet shall be called
 * @throws CliError, DeviceLoginError, OidcProviderError, RpcError
 */
export async function logInAtProvider(
  trust: TrustBundle,
  out: Output,
  options: OutputOptions & { username?: string | undefined },
): Promise<OidcLogin> {
  const { username } = options;
  const idToken = await askProvider(trust, out, options);
  out.progress('logging in');
  // Where nobody can be asked, standard input may bring the code.
  return withSecondFactor(out, { fromStdin: !process.stdin.isTTY }, (oneTimeCode) =>
    exchangeIdToken(trust, { idToken, username, oneTimeCode }, callOptions()),
  );
}

/**
 * Has the user log in at the OpenID provider of the service.
 * @returns an ID token
 * @throws CliError, DeviceLoginError, OidcProviderError, RpcError
 */
export function askProvider(trust: TrustBundle, out: Output, options: OutputOptions): Promise<string> {
  return interruptible(async (signal) => {
    const settings = await oidcSettings(trust, { ...callOptions(), signal });
    if (!settings)
      throw new CliError(EXIT.failure, 'this service does not offer login with OIDC', {
        code: 'oidc.off',
        hint: 'log in with a password: sls login',
      });
    out.progress(`asking ${settings.issuer} for a code`);
    return comparingClocks(trust, callOptions(), () =>
      logInByDevice(settings, {
        signal,
        async onCode(code) {
          out.finish();
          await show(code, settings.issuer, options);
          out.progress('waiting for you to log in there');
        },
      }),
    );
  });
}

/** On the terminal, never on standard output; also with --quiet, because without it nobody could log in. */
async function show(
  { address, completeAddress, userCode, expiresAt }: DeviceCode,
  issuer: string,
  { json }: OutputOptions,
): Promise<void> {
  const minutes = Math.max(1, Math.floor((expiresAt.getTime() - systemClock.now()) / 60_000));
  const picture = process.stderr.isTTY && json !== true ? ['', ...(await qrCode(completeAddress ?? address))] : [];
  const lines = [
    `Log in at ${issuer}: open this address in a browser, on this machine or another one,`,
    completeAddress === undefined
      ? 'and type the code shown below it:'
      : 'and continue only if it shows the code below it:',
    '',
    `  ${completeAddress ?? address}`,
    '',
    `  ${userCode}`,
  ].map(printable);
  process.stderr.write(
    [
      ...lines,
      ...picture,
      '',
      `It is valid for ${minutes} ${minutes === 1 ? 'minute' : 'minutes'}. Press Ctrl-C to stop waiting.`,
      '',
    ].join('\n'),
  );
}
