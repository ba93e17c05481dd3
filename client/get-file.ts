import { finished } from 'node:stream/promises';
import type { Writable } from 'node:stream';
import { status } from '@grpc/grpc-js';
import { fillFile } from '../runtime/files/fill-file';
import { RpcError } from '../runtime/rpc/errors';
import { TracedCall } from '../runtime/rpc/trace';
import { SessionServiceService } from '../proto/gen/licensing/v1/session';
import type { GetFileResponse, SessionServiceClient } from '../proto/gen/licensing/v1/session';
import { specialFile } from './special-file';

type Write = (bytes: Uint8Array) => Promise<void>;

export async function getFile(
  client: SessionServiceClient,
  path: string,
  target: string | Writable,
  given: AbortSignal[] = [],
): Promise<void> {
  if (typeof target !== 'string') {
    await receive(client, path, () => Promise.resolve((bytes) => writeTo(target, bytes)));
    return;
  }
  const special = await specialFile(target);
  if (special === undefined) {
    await fillFile(target, (write) => receive(client, path, () => Promise.resolve(write)));
    return;
  }
  let stream: Writable | undefined;
  try {
    await receive(client, path, async (signal) => {
      // A small file is there as a whole before anybody reads: then only the caller can end the wait.
      const opened = (stream = await special.open(AbortSignal.any([signal, ...given])));
      // Whoever writes to it hears of it; what comes of it afterwards is nobody's.
      opened.on('error', () => undefined);
      return (bytes) => writeTo(opened, bytes);
    });
    if (stream && !isStandard(stream)) await finished(stream.end(), { readable: false });
  } finally {
    if (stream && !isStandard(stream)) stream.destroy();
  }
}

/** Others write to these as well. */
function isStandard(stream: Writable): boolean {
  return stream === process.stdout || stream === process.stderr;
}

/**
 * @param open called once the enclave has begun to send the file: what can't be had leaves the target alone. Its signal aborts when the call is over
 * @returns the file's permission bits
 */
async function receive(
  client: SessionServiceClient,
  path: string,
  open: (signal: AbortSignal) => Promise<Write>,
): Promise<number> {
  const traced = new TracedCall(SessionServiceService.getFile.path);
  const call = traced.follow(client.getFile({ path }, traced.metadata));
  const over = new AbortController();
  call.on('error', (error) => over.abort(error));
  let file: { write: Write; mode: number } | undefined;
  let size: bigint | undefined;
  let received = 0n;
  try {
    for await (const message of call) {
      const { part } = message as GetFileResponse;
      if (part?.$case === 'header' && file === undefined) {
        size = part.value.size;
        file = { write: await open(over.signal), mode: part.value.mode & 0o777 };
      } else if (part?.$case === 'data' && file !== undefined) {
        received += BigInt(part.value.length);
        await file.write(part.value);
      } else if (part?.$case === 'end' && file !== undefined) {
        size = part.value.size;
      } else {
        throw broken('expected a header, then data');
      }
    }
  } catch (error) {
    call.cancel();
    throw error;
  }
  if (file === undefined || received !== size) throw broken(`expected ${String(size)} bytes, got ${received}`);
  return file.mode;
}

function broken(message: string): RpcError {
  return new RpcError('file.stream', status.DATA_LOSS, message);
}

/** Waits until the stream has taken the bytes, or has failed. */
function writeTo(target: Writable, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    target.once('error', reject);
    target.write(bytes, (error) => {
      target.off('error', reject);
      if (error) reject(error);
      else resolve();
    });
  });
}
