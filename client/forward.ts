import type { Readable, Writable } from 'node:stream';
import { RpcError } from '../runtime/rpc/errors';
import { status } from '@grpc/grpc-js';
import { relay } from '../runtime/rpc/relay';
import type { RelayPart } from '../runtime/rpc/relay';
import { TracedCall } from '../runtime/rpc/trace';
import type { Windows } from '../runtime/rpc/windows';
import { SessionServiceService } from '../proto/gen/licensing/v1/session';
import type { ForwardRequest, ForwardResponse, SessionServiceClient } from '../proto/gen/licensing/v1/session';

/** A place in the enclave: a port of its loopback, or a unix socket in its workspace. */
export type ForwardTarget =
  | {
      port: number;
      /** An address of the enclave's loopback. Default: 127.0.0.1, and ::1 if that refuses. */
      host?: string;
    }
  | {
      /** Path of a unix socket, absolute or relative to the workspace. */
      socket: string;
    };

/** What is connected to a place in the enclave. A socket with `allowHalfOpen` is both. */
export interface ForwardOptions {
  /** Read until its end. */
  input: Readable;
  /** Ended where the program in the enclave ends its side. */
  output: Writable;
  /** Cuts the connection when aborted. */
  signal?: AbortSignal | undefined;
}

/** @throws RpcError or ServiceError; what the local streams fail with */
export async function forward(
  client: SessionServiceClient,
  target: ForwardTarget,
  { input, output, signal }: ForwardOptions,
  windows: Windows,
): Promise<void> {
  const traced = new TracedCall(SessionServiceService.forward.path);
  const call = traced.follow(client.forward(traced.metadata));
  const messages = call[Symbol.asyncIterator]() as AsyncIterator<ForwardResponse>;
  const cancel = (): void => call.cancel();
  // Awaited below, where anything is still awaited.
  call.on('error', () => undefined);
  if (signal?.aborted) cancel();
  else signal?.addEventListener('abort', cancel, { once: true });
  try {
    call.write({ part: { $case: 'target', value: { place: placeOf(target) } } });
    await relay(
      {
        async next() {
          for (;;) {
            const { value, done } = await messages.next();
            if (done) return undefined;
            const { part } = value;
            if (part === undefined) throw new RpcError('forward.stream', status.DATA_LOSS, 'expected a part, got none');
            // What was sent before it is in the window.
            if (part.$case !== 'connected') return part as RelayPart;
          }
        },
        write: (part) => call.write({ part } as ForwardRequest),
        onDrain: (listener) => void call.on('drain', listener),
        onEnded: () => call.end(),
      },
      { source: input, sink: output },
      windows,
    );
  } finally {
    signal?.removeEventListener('abort', cancel);
    // Nothing to do once it has ended by itself; otherwise the program in the enclave sees that it is over.
    call.cancel();
  }
}

/**
 * Whether the enclave knows such calls: one of an older release doesn't.
 * @throws RpcError `rpc.unimplemented`, or what the call fails with
 */
export async function askForForwarding(client: SessionServiceClient): Promise<void> {
  const traced = new TracedCall(SessionServiceService.forward.path);
  const call = traced.follow(client.forward(traced.metadata));
  // Without a target: refused by whoever knows what is missing.
  call.end();
  await new Promise<void>((resolve, reject) => {
    call.on('error', reject);
    call.on('data', () => undefined);
    call.on('end', resolve);
  });
}

function placeOf(
  target: ForwardTarget,
): { $case: 'socket'; value: string } | { $case: 'tcp'; value: { host: string; port: number } } {
  if ('socket' in target) return { $case: 'socket', value: target.socket };
  return { $case: 'tcp', value: { host: target.host ?? 'localhost', port: target.port } };
}
