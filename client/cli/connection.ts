import { status } from '@grpc/grpc-js';
import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { RpcError } from '../../runtime/rpc/errors';
import { AttestationRefused, connect, LoginError, renew } from '../index';
import type { EnclaveConnection, Session, SessionTokens } from '../index';
import { callOptions } from './call-options';
import { CliError, EXIT } from './exit';
import { tellLicence } from './licence-notice';
import { allowPlaintext } from './plaintext';
import { tellNewEnclave } from './new-enclave';
import { tellStage, tellStep } from './narration';
import type { Output } from './output';
import { retryAfterRaces } from './race';
import { keepReceipt } from './receipts';
import { loadSession, saveRenewed, saveTokens } from './session-file';
import type { SavedSession } from './session-file';
import { keepIfWritable } from './state';
import { findTokens } from './token-file';
import { systemClock } from '../../runtime/clock';
import { TrustKeeper } from './trust-keeper';
import { CodedError } from '../../errors/coded-error';
import type { Code } from '../../errors/codes';

/** The evidence is about another workload, or the endpoint hands out another certificate: the enclave was replaced since login. */
const REPLACED = new Set<Code>(['identity.workload', 'identity.node', 'certificate.mismatch']);

/**
 * The session is over, or its user, by the list or by the service that gives seats. Who has another one goes on with that, as a login to another enclave may; else
 * the person hears what the service says to the one at hand.
 */
const OVER = new Set<Code>(['revocation.session', 'revocation.user', 'login.session_ended']);

/** Between two looks for a free seat. */
const SEAT_WAIT_MS = 3_000;

interface ConnectOptions {
  verbose?: boolean;
  signal?: AbortSignal;
  /** False: takes no seat, for who only looks. */
  seat?: boolean;
  /** Seconds to wait for a seat while none is free. */
  wait?: number | undefined;
}

/**
 * A verified connection to the enclave of the saved session. What has ended meanwhile, the evidence, the client's certificate, the access token,
 * is renewed by itself; where the enclave is gone, logs in again: with a new key, a new nonce and the whole verification.
 * @throws CliError 4 with the way out when the session has ended
 */
export async function connectSaved(out: Output, options: ConnectOptions): Promise<EnclaveConnection> {
  const attempt = async (enclaveGone: boolean): Promise<EnclaveConnection> =>
    open(await loadSession(), out, options, enclaveGone);
  let end: number | undefined;
  return retryAfterRaces(
    () =>
      waitingForSeat(async () => {
        try {
          return await attempt(false);
        } catch (error) {
          const over = error instanceof CodedError && OVER.has(error.code);
          if (!over && !isGone(error)) throw error;
          out.progress(`the ${over ? 'session has ended' : 'enclave is gone'}: logging in again`);
          return attempt(true);
        }
      }),
    options.signal,
  );

  /** Each try verifies the enclave again: whoever gets a seat works with the one that is there then. */
  async function waitingForSeat<T>(work: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof RpcError && error.code === 'seat.none_free') || !options.wait) throw error;
        if (end === undefined) out.note('all seats are taken: waiting for one');
        end ??= systemClock.now() + options.wait * 1000;
        const left = end - systemClock.now();
        if (left <= 0) throw error;
        await systemClock.sleep(Math.min(left, SEAT_WAIT_MS), options.signal);
      }
    }
  }
}

/** --wait: for a seat, instead of failing at once. */
export function addWaitOption(command: Command): Command {
  return command.option(
    '--wait <seconds>',
    'if no seat is free, wait this long for one (default: fail at once)',
    (text) => {
      if (/^\d{1,6}$/.test(text)) return Number(text);
      throw new InvalidArgumentError('expected seconds.');
    },
  );
}

async function open(
  saved: SavedSession,
  out: Output,
  options: ConnectOptions,
  enclaveGone: boolean,
): Promise<EnclaveConnection> {
  const { verbose, signal, seat } = options;
  const tokens = await tokensFor(saved);
  const onStep = verbose ? tellStep(out, { details: true }) : undefined;
  const keeper = new TrustKeeper({ bundle: saved.trust, signed: saved.signedTrust }, saved.preferences ?? {}, out);
  let session: Session;
  try {
    session = await renew(
      keeper.trust,
      { ...saved.session, ...tokens.current },
      {
        ...callOptions(),
        enclaveGone,
        onTrust: keeper.onTrust,
        onTokens: tokens.keep,
        onReceipt: keepReceipt(() => keeper.trust, out),
        onStage: tellStage(out),
        onStep,
        signal,
      },
    );
  } catch (error) {
    if (!(error instanceof LoginError && error.code === 'login.session_over')) throw error;
    throw new CliError(EXIT.authentication, 'the session has ended', { hint: 'run: sls login' }, { cause: error });
  }
  if (session.evidence !== saved.session.evidence)
    await keepIfWritable(() => saveRenewed(saved, kept(keeper, tokens.strip(session))));
  out.progress('verifying and connecting');
  const connection = await connect(keeper.trust, session, {
    onTrust: keeper.onTrust,
    allowPlaintext: allowPlaintext(),
    onStep,
    signal,
    seat,
    onSeatRefused: ({ message }, until) =>
      out.warning(`the seat was not renewed: ${message}; nothing new can start after ${until.toISOString()}`),
  });
  if (keeper.renewed) await keepIfWritable(() => saveRenewed(saved, kept(keeper, tokens.strip(session))));
  out.erase();
  await tellNewEnclave(out, keeper.trust, saved.session, session);
  tellLicence(out, session);
  return connection;
}

interface Tokens {
  current: SessionTokens;
  keep(renewed: SessionTokens): Promise<void>;
  /** The session as its own file keeps it. */
  strip(session: Session): Session;
}

/** A session's own tokens; of a login that went on with that to another enclave, those of that one, which go back there. */
async function tokensFor(saved: SavedSession): Promise<Tokens> {
  const { session, trust, username } = saved;
  if (session.refreshToken !== undefined)
    return {
      current: session,
      keep: (renewed) => keepIfWritable(() => saveTokens(saved, renewed)),
      strip: (renewed) => renewed,
    };
  const found = await findTokens(trust, username, { anyEnclave: true });
  const { accessToken, accessTokenExpiresAt, refreshToken, refreshTokenExpiresAt } = found?.tokens ?? session;
  return {
    current: { accessToken, accessTokenExpiresAt, refreshToken, refreshTokenExpiresAt },
    keep: async (renewed) => found?.keep(renewed),
    strip: (renewed) => ({ ...renewed, refreshToken: undefined, refreshTokenExpiresAt: undefined }),
  };
}

function kept(
  { trust, signed }: TrustKeeper,
  session: Session,
): Pick<SavedSession, 'trust' | 'signedTrust' | 'session'> {
  return { trust, signedTrust: signed, session };
}

function isGone(error: unknown): boolean {
  // The services have nothing to do with where the enclave is.
  if (error instanceof RpcError && /^(seat|service)\./.test(error.code)) return false;
  // UNIMPLEMENTED is what an ingress's "404 Not Found" becomes: the enclave's route was taken away with it.
  if (error instanceof RpcError)
    return [status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.UNIMPLEMENTED].includes(error.grpcStatus);
  return error instanceof AttestationRefused && error.phase !== 'session' && REPLACED.has(error.code);
}
