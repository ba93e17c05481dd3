import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { isIP } from 'node:net';
import type { Socket } from 'node:net';
import { connect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { Metadata } from '@grpc/grpc-js';
import { verifyChain } from '../attestation/certificates/chain';
import type { TrustBundle } from '../attestation/trust/bundle';
import { CodedError } from '../errors/coded-error';
import type { Code } from '../errors/codes';
import { HealthClient } from '../proto/gen/grpc/health/v1/health';
import { systemClock } from '../runtime/clock';
import type { Clock } from '../runtime/clock';
import { channelCredentials, isLoopback, parseAddress } from '../runtime/rpc/address';
import type { Address } from '../runtime/rpc/address';
import { RpcError } from '../runtime/rpc/errors';
import { channelTo } from '../runtime/rpc/proxy';
import { SingleUseCredentials } from './connect/credentials';

/** Refusals that a clock which is wrong, here or at the service, can explain. What is refused stays refused. */
const BY_CLOCK: ReadonlySet<Code> = new Set<Code>([
  'ak_certificate.expired',
  'ak_certificate.not_yet_valid',
  'freshness.expired',
  'freshness.not_yet_valid',
  'revocation.stale',
  'log.head_stale',
  'certificate.expired',
  'certificate.not_yet_valid',
  'login.token_invalid',
  'login.refresh_invalid',
  'login.session_ended',
  'login.session_over',
  'login.second_factor_wrong',
  'account.login_not_fresh',
  'seat.token_expired',
  'seat.token_invalid',
  'seat.heartbeat',
  'seat.heartbeat_old',
  'seat.lapsed',
  'admin.proof_time',
  'admin.certificate',
  'licence.expired',
  'licence.not_yet_valid',
  // Of an ID token's times, by the service's clock.
  'oidc.token_invalid',
]);
/** Calls that did not come through. */
const UNREACHED: ReadonlySet<Code> = new Set<Code>([
  'service.unreachable',
  'rpc.unavailable',
  'oidc.provider_unavailable',
]);
/** What OpenSSL says of a certificate of a service: no call of ours comes through then. */
const TLS_TIME = /certificate (has expired|is not yet valid)|CERT_(HAS_EXPIRED|NOT_YET_VALID)/;

/** id-kp-serverAuth (RFC 5280, 4.2.1.12). */
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
const TIMEOUT_MS = 5_000;

/** By what the service is reached and known; without its address there is nothing to compare with. */
export type ClockTrust = Pick<TrustBundle, 'serverRoots'> & Partial<Pick<TrustBundle, 'services'>>;

interface ClockOptions {
  allowPlaintext?: boolean | undefined;
  /** The system's, unless told. */
  clock?: Clock | undefined;
}

/** True where a clock may be why, and the two have to be compared. */
function isByClock(error: unknown): error is CodedError {
  if (!(error instanceof CodedError) || error.clockAheadSeconds !== undefined) return false;
  return BY_CLOCK.has(error.code) || isTlsTime(error) || isProviderOfService(error);
}

/** True of a call that failed because of the times in the TLS certificate of a service or of the OpenID provider. */
export function isTlsTime(error: CodedError): boolean {
  if (!UNREACHED.has(error.code)) return false;
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause)
    if (TLS_TIME.test(cause.message)) return true;
  return false;
}

/** Where it is the service that can't reach the provider, it says no more than that: the times in the provider's certificate may be why. */
function isProviderOfService(error: CodedError): boolean {
  return error instanceof RpcError && error.code === 'oidc.provider_unavailable';
}

/**
 * Does something with a service. A refusal that a clock can explain is thrown with `clockAheadSeconds`, where the service's clock could be read.
 * @throws what `work` throws
 */
export async function comparingClocks<T>(trust: ClockTrust, options: ClockOptions, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (isByClock(error)) error.clockAheadSeconds = await compareClocks(trust, options);
    throw error;
  }
}

/**
 * Seconds by which this machine's clock is ahead of the login service's; negative where it is behind. Undefined where that can't be told.
 *
 * A clock that is far off makes the service's certificate look as if it had ended or not begun, so this connection takes it as of the service's own time: it is
 * to have been good then, by the trust bundle's roots and for this host. Nothing is sent but a health check, and nothing is decided by what comes of it.
 */
async function compareClocks(
  { services, serverRoots }: ClockTrust,
  { allowPlaintext = false, clock = systemClock }: ClockOptions,
): Promise<number | undefined> {
  if (services === undefined) return undefined;
  const address = parseAddress(services.login);
  if (address.scheme === 'unix' || (address.scheme === 'http' && !allowPlaintext && !isLoopback(address.host)))
    return undefined;
  const ownRoots = address.scheme === 'https' && serverRoots.length > 0;
  let certificate: Buffer | undefined;
  const credentials = ownRoots
    ? new SingleUseCredentials(async (dialled) => {
        const socket = await connectUntimed(dialled, address.host);
        certificate = socket.getPeerX509Certificate()?.raw;
        return socket;
      })
    : channelCredentials(address);
  const { target, options } = channelTo(address);
  const client = new HealthClient(target, credentials, options);
  const asked = clock.now();
  try {
    const date = await new Promise<number>((resolve, reject) => {
      const deadline = systemClock.now() + TIMEOUT_MS;
      const call = client.check({ service: '' }, new Metadata(), { deadline }, (error) =>
        reject(error ?? new Error('expected headers, got none')),
      );
      // HTTP's own (RFC 9110, 6.6.1), in whole seconds.
      call.once('metadata', (headers: Metadata) => resolve(Date.parse(String(headers.get('date')[0])) + 500));
    });
    if (ownRoots && !wasGood(certificate, serverRoots, address, new Date(date))) return undefined;
    const ahead = Math.round(((asked + clock.now()) / 2 - date) / 1000);
    return Number.isNaN(ahead) ? undefined : ahead;
  } catch {
    return undefined;
  } finally {
    client.close();
  }
}

/** Who it is, and when that was good, is looked at once its time is known. */
async function connectUntimed(socket: Socket, servername: string): Promise<TLSSocket> {
  const secure = connect({
    socket,
    ...(isIP(servername) === 0 && { servername }),
    ALPNProtocols: ['h2'],
    rejectUnauthorized: false,
  });
  await once(secure, 'secureConnect');
  return secure;
}

function wasGood(
  certificate: Buffer | undefined,
  roots: readonly string[],
  address: Exclude<Address, { scheme: 'unix' }>,
  now: Date,
): boolean {
  if (certificate === undefined) return false;
  verifyChain({ certificates: [certificate], roots, now, purpose: SERVER_AUTH });
  const parsed = new X509Certificate(certificate);
  return (isIP(address.host) ? parsed.checkIP(address.host) : parsed.checkHost(address.host)) !== undefined;
}
