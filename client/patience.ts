import { connectivityState, InterceptingCall, Metadata, status } from '@grpc/grpc-js';
import type { Client, Interceptor, StatusObject } from '@grpc/grpc-js';
import type { UnreachableCode } from '../errors/client';
import { REASON_KEY } from '../runtime/rpc/errors';
import { FIRST_ANSWER_MS } from '../runtime/rpc/first-answer';
import { systemClock } from '../runtime/clock';
import type { Clock } from '../runtime/clock';

/** From the call to a connection on which HTTP/2 is spoken: proxies and TLS included. */
const CONNECT_MS = 10_000;

/** Whose calls are bounded. */
interface Patience {
  /** HOST:PORT. */
  name: string;
  /** An enclave's answer is bounded by its calls' own deadlines alone: it may wait for its TPM. */
  of: 'service' | 'enclave';
  channel: () => ReturnType<Client['getChannel']>;
  /** The system's, unless told. */
  clock?: Clock | undefined;
}

/**
 * Bounds the wait of each call on a channel: for the connection, and for the first word of an answer. gRPC itself knows the call's own deadline alone, which
 * is minutes for a login, and holds a call to a port that accepts and never answers until then. How a call to nobody ends is said in our own words.
 */
export function impatient({ name, of, channel, clock = systemClock }: Patience): Interceptor {
  return (options, nextCall) => {
    const call = nextCall(options);
    let late = false;
    const giveUp = (grpcStatus: status, expected: string): void => {
      late = true;
      call.cancelWithStatus(grpcStatus, `expected ${expected}, got none`);
    };
    const connected = (): boolean => channel().getConnectivityState(false) === connectivityState.READY;
    const timers = [
      clock.after(CONNECT_MS, () => {
        if (!connected()) giveUp(status.UNAVAILABLE, `a connection to ${name} within ${CONNECT_MS / 1000} s`);
      }),
    ];
    // Who sets no deadline, as one that follows a log, waits for as long as there is nothing to say.
    if (of === 'service' && options.deadline !== undefined)
      timers.push(
        clock.after(FIRST_ANSWER_MS, () =>
          giveUp(status.DEADLINE_EXCEEDED, `an answer of ${name} within ${FIRST_ANSWER_MS / 1000} s`),
        ),
      );
    const stop = (): void => {
      for (const timer of timers) timer.cancel();
    };
    return new InterceptingCall(call, {
      start(metadata, _listener, next) {
        next(metadata, {
          onReceiveMetadata(received, forward) {
            stop();
            forward(received);
          },
          onReceiveStatus(ended, forward) {
            stop();
            if (late)
              return forward(withReason(ended, of === 'service' ? 'service.unreachable' : 'connection.timeout'));
            if (ended.metadata.get(REASON_KEY).length > 0) return forward(ended);
            const told = inOurWords(ended, name, connected());
            const unreached = of === 'service' && (told !== ended || ended.code === status.UNAVAILABLE);
            forward(unreached ? withReason(told, 'service.unreachable') : told);
          },
        });
      },
    });
  };
}

/** What grpc-js says of a call that nobody has answered. */
function inOurWords(ended: StatusObject, name: string, connected: boolean): StatusObject {
  const { code, details } = ended;
  // Its own, by which the call ended here.
  if (code === status.DEADLINE_EXCEEDED && /^Deadline exceeded after /.test(details))
    return {
      ...ended,
      details: `expected ${connected ? 'an answer of' : 'a connection to'} ${name} in time, got none`,
    };
  const [, reason] =
    /^No connection established\. Last error: (?:Error: )?(.*?)\. Resolution note: /.exec(details) ?? [];
  if (code !== status.UNAVAILABLE || reason === undefined) return ended;
  return { ...ended, details: `no connection to ${name}${/^(undefined)?$/.test(reason) ? '' : `: ${reason}`}` };
}

function withReason(ended: StatusObject, code: UnreachableCode): StatusObject {
  const metadata = new Metadata();
  metadata.set(REASON_KEY, code);
  return { ...ended, metadata };
}
