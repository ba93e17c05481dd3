import { z } from 'zod';
import { discover } from '../../runtime/oidc/discovery';
import { OidcProviderError } from '../../runtime/oidc/errors';
import { fetchText, parseJson } from '../../runtime/oidc/fetch';
import { isEndpointOf } from '../../runtime/oidc/issuer';
import type { OidcSettings } from './service';
import { systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';
import { CodedError } from '../../errors/coded-error';
import type { DeviceLoginCode } from '../../errors/client';

const DEVICE_CODE = 'urn:ietf:params:oauth:grant-type:device_code';
/** RFC 8628, 3.2 and 3.5: between two questions, where the provider says nothing else, and more after each slow_down. */
const INTERVAL_SECONDS = 5;
const SLOW_DOWN_SECONDS = 5;
/** Nobody is waited for longer than this, and the provider not asked more seldom than that, whatever it says. */
const MAX_WAIT_SECONDS = 3600;
const MAX_INTERVAL_SECONDS = 60;

/** A login at the OpenID provider failed. `code` is stable: oidc.denied, oidc.code_expired, oidc.no_device_codes, oidc.client_refused. */
export class DeviceLoginError extends CodedError<DeviceLoginCode> {
  override readonly name = 'DeviceLoginError';
}

/** What to show the user. The provider chose these texts: escape control characters before printing them to a terminal. */
export interface DeviceCode {
  /** URL to open in a browser, on any machine. */
  address: string;
  /** Code to type there. */
  userCode: string;
  /** URL that includes the code, for a QR code; the user compares the code there (RFC 8628, 3.3.1). */
  completeAddress: string | undefined;
  expiresAt: Date;
}

/** How to show the code, and when to give up. */
export interface DeviceLoginOptions {
  /** Called once, with the code to show. */
  onCode(code: DeviceCode): void | Promise<void>;
  /** Stops waiting; the code is left to expire. */
  signal?: AbortSignal | undefined;
  /** Default: the system clock. */
  clock?: Clock;
}

const answerSchema = z.object({
  device_code: z.string().min(1).max(4096),
  user_code: z.string().min(1).max(64),
  verification_uri: z.string().max(2048),
  verification_uri_complete: z.string().max(2048).optional(),
  expires_in: z.number().positive(),
  interval: z.number().min(0).optional(),
});
const tokenSchema = z.object({ id_token: z.string() });
const errorSchema = z.object({ error: z.string(), error_description: z.string().optional() });

/**
 * Logs the user in at the OpenID provider with a device code (RFC 8628): requests a code, passes it to `onCode`, and waits
 * until the user has approved it.
 * @returns an ID token; treat it as a secret, it works like a password for a few minutes
 * @throws DeviceLoginError, OidcProviderError; the abort reason of `signal`
 */
export async function logInByDevice(
  settings: OidcSettings,
  { onCode, signal, clock = systemClock }: DeviceLoginOptions,
): Promise<string> {
  const { issuer, clientId, publicClientSecret, scopes } = settings;
  const { deviceAuthorizationEndpoint, tokenEndpoint } = await discover(issuer, { signal });
  if (deviceAuthorizationEndpoint === undefined || tokenEndpoint === undefined) {
    throw new DeviceLoginError('oidc.no_device_codes', `the OpenID provider ${issuer} offers no login by device code`);
  }
  const client = { client_id: clientId, ...(publicClientSecret !== '' && { client_secret: publicClientSecret }) };
  const began = clock.now();
  const beganMonotonic = clock.monotonic();
  const answer = read(
    answerSchema,
    await post(deviceAuthorizationEndpoint, { ...client, scope: scopes.join(' ') }, signal),
    deviceAuthorizationEndpoint,
  );
  const {
    device_code,
    user_code: userCode,
    verification_uri: address,
    verification_uri_complete: completeAddress,
    expires_in,
    interval = INTERVAL_SECONDS,
  } = answer;
  for (const uri of [address, completeAddress]) {
    if (uri !== undefined && !isEndpointOf(issuer, uri))
      throw new OidcProviderError(
        'oidc.provider_invalid',
        `expected an https address to send the user to, of the OpenID provider ${issuer}`,
      );
  }
  const life = Math.min(expires_in, MAX_WAIT_SECONDS) * 1000;
  await onCode({ address, userCode, completeAddress, expiresAt: new Date(began + life) });
  const form = { ...client, grant_type: DEVICE_CODE, device_code };
  return waitForToken({ url: tokenEndpoint, form, interval, until: beganMonotonic + life }, signal, clock);
}

interface Waiting {
  url: string;
  form: Record<string, string>;
  interval: number;
  /** By the monotonic clock: a time of day that is put right meanwhile ends no code. */
  until: number;
}

/** RFC 8628, 3.4 and 3.5. */
async function waitForToken(
  { url, form, interval, until }: Waiting,
  signal: AbortSignal | undefined,
  clock: Clock,
): Promise<string> {
  for (let seconds = interval; ; seconds = Math.min(seconds, MAX_INTERVAL_SECONDS)) {
    if (clock.monotonic() + seconds * 1000 >= until) throw expired();
    await clock.sleep(seconds * 1000, signal);
    try {
      const answer = await post(url, form, signal);
      if (answer.status === 200) return read(tokenSchema, answer, url).id_token;
      const { error } = read(errorSchema, answer, url, [400, 401]);
      if (error === 'slow_down') seconds += SLOW_DOWN_SECONDS;
      else if (error !== 'authorization_pending') throw error === 'expired_token' ? expired() : refused(error);
    } catch (error) {
      if (!(error instanceof OidcProviderError && error.code === 'oidc.provider_unavailable')) throw error;
      // It may be back before the code expires; asked half as often each time.
      seconds = Math.max(1, seconds * 2);
    }
  }
}

interface Answer {
  status: number;
  json: unknown;
}

async function post(url: string, form: Record<string, string>, signal: AbortSignal | undefined): Promise<Answer> {
  const { status, text } = await fetchText(url, { form, signal });
  return { status, json: parseJson(text, url) };
}

function read<T>(schema: z.ZodType<T>, { status, json }: Answer, url: string, statuses = [200]): T {
  const result = schema.safeParse(json);
  if (statuses.includes(status) && result.success) return result.data;
  const refusal = errorSchema.safeParse(json);
  if (status >= 400 && refusal.success) throw refused(refusal.data.error, refusal.data.error_description);
  throw new OidcProviderError(
    'oidc.provider_invalid',
    `expected another answer of ${new URL(url).origin}${new URL(url).pathname}, got HTTP ${status}`,
  );
}

function expired(): DeviceLoginError {
  return new DeviceLoginError('oidc.code_expired', 'nobody logged in by the code in time');
}

function refused(error: string, description?: string): DeviceLoginError {
  if (error === 'access_denied')
    return new DeviceLoginError('oidc.denied', 'the login was denied at the OpenID provider');
  return new DeviceLoginError(
    'oidc.client_refused',
    `the OpenID provider refuses: ${error}${description === undefined ? '' : `, ${description}`}`.slice(0, 300),
  );
}
