import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { status } from '@grpc/grpc-js';
import type { ServerWritableStream } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';
import { writeMessage } from '../../runtime/rpc/handlers';
import type { GetFileRequest, GetFileResponse } from '../../proto/gen/licensing/v1/session';
import { refuseOwnFile } from './own-files';
import { fileError, resolvePath } from './paths';

/** Bytes of a file in one message. */
const PIECE_BYTES = 256 * 1024;

/**
 * Streams a file: header, then exactly as many bytes as it says. The next piece is read while one is sent.
 * @throws RpcError `file.…`
 */
export async function sendFile(
  call: ServerWritableStream<GetFileRequest, GetFileResponse>,
  workspace: string,
  { signal, credentialFile }: { signal: AbortSignal; /** See refuseOwnFile. */ credentialFile: string },
): Promise<void> {
  const { path } = call.request;
  try {
    // Not to hang on a pipe that nobody writes.
    const file = await open(resolvePath(workspace, path), constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      await refuseOwnFile(file, credentialFile);
      const info = await file.stat();
      if (info.isDirectory()) throw Object.assign(new Error('a folder'), { code: 'EISDIR' });
      if (!info.isFile())
        throw new RpcError(
          'file.not_regular',
          status.FAILED_PRECONDITION,
          'expected a regular file, got a device, socket or pipe',
        );
      await writeMessage(call, {
        part: { $case: 'header', value: { path, mode: info.mode & 0o777, size: BigInt(info.size) } },
      });
      await sendPieces(call, file, info.size, signal);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw fileError(error, path);
  }
}

async function sendPieces(
  call: ServerWritableStream<unknown, GetFileResponse>,
  file: FileHandle,
  size: number,
  signal: AbortSignal,
): Promise<void> {
  let position = 0;
  let next = readPiece(file, position, size);
  while (position < size) {
    const piece = await next;
    position += piece.length;
    next = readPiece(file, position, size);
    // Awaited in the next round; a failure in between is not unhandled.
    next.catch(() => undefined);
    signal.throwIfAborted();
    await writeMessage(call, { part: { $case: 'data', value: piece } });
  }
  await next;
}

async function readPiece(file: FileHandle, position: number, size: number): Promise<Buffer> {
  const length = Math.min(PIECE_BYTES, size - position);
  if (length === 0) return Buffer.alloc(0);
  const { bytesRead, buffer } = await file.read(Buffer.allocUnsafeSlow(length), 0, length, position);
  if (bytesRead === 0)
    throw new RpcError(
      'file.changed',
      status.ABORTED,
      `the file became shorter while it was read: expected ${size} bytes, got ${position}`,
    );
  return buffer.subarray(0, bytesRead);
}
