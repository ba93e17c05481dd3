import { status } from '@grpc/grpc-js';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';
import { CallReader } from '../../runtime/rpc/read-call';
import { cutSocket, relay } from '../../runtime/rpc/relay';
import type { RelayPart } from '../../runtime/rpc/relay';
import type { Windows } from '../../runtime/rpc/windows';
import type { ForwardRequest, ForwardResponse } from '../../proto/gen/licensing/v1/session';
import { dial } from './dial';

interface ForwardOptions {
  workspace: string;
  /** Of the session: what its connections may have under way. */
  windows: Windows;
  /** Aborts when the call, its connection or its seat is gone: the connection is cut. */
  signal: AbortSignal;
  /** Asked once it is known where to: a call may have been open for long before that. Throws where nothing may begin. */
  begin(): void;
}

/**
 * One connection to a program in the enclave, for one call. Each direction ends by itself; what cuts one side cuts the other.
 * @throws RpcError `forward.…`, `file.…`; the signal's reason
 */
export async function forward(
  call: ServerDuplexStream<ForwardRequest, ForwardResponse>,
  { workspace, windows, signal, begin }: ForwardOptions,
): Promise<void> {
  const requests = new CallReader(call, signal);
  const first = await requests.next();
  if (first?.part?.$case !== 'target') throw invalid('expected the target first');
  begin();
  const socket = await dial(first.part.value, workspace, signal);
  const cut = (): void => cutSocket(socket);
  // After its end nobody else listens any more.
  socket.on('error', () => undefined);
  if (signal.aborted) cut();
  else signal.addEventListener('abort', cut, { once: true });
  try {
    call.write({ part: { $case: 'connected', value: {} } });
    await relay(
      {
        async next() {
          const message = await requests.next();
          if (message === undefined) return undefined;
          const { part } = message;
          if (part === undefined || part.$case === 'target') throw invalid('expected data, a window or an end');
          return part as RelayPart;
        },
        write: (part) => call.write({ part } as ForwardResponse),
        onDrain: (listener) => void call.on('drain', listener),
        onEnded: () => undefined,
      },
      { source: socket, sink: socket },
      windows,
    );
  } catch (error) {
    cut();
    signal.throwIfAborted();
    if (error instanceof RpcError) throw error;
    throw new RpcError('forward.reset', status.ABORTED, 'the program in the enclave cut the connection', {
      cause: error,
    });
  } finally {
    signal.removeEventListener('abort', cut);
    socket.destroy();
  }
}

function invalid(message: string): RpcError {
  return new RpcError('forward.stream', status.INVALID_ARGUMENT, message);
}
