import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { status } from '@grpc/grpc-js';
import type { ServerWritableStream } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';
import { writeMessage } from '../../runtime/rpc/handlers';
import type { GetFileRequest, GetFileResponse } from '../../proto/gen/licensing/v1/session';
import { refuseOwnFile } from './own-files';
import type { OwnFiles } from './own-files';
import { fileError, resolvePath } from './paths';

/** Bytes of a file in one message. */
const PIECE_BYTES = 256 * 1024;

/**
 * Streams a file: header, then what there is to read of it, and an end where that is another size than the header's. The next piece is read while one is sent.
 * @throws RpcError `file.…`
 */
export async function sendFile(
  call: ServerWritableStream<GetFileRequest, GetFileResponse>,
  workspace: string,
  { signal, own }: { signal: AbortSignal; own: OwnFiles },
): Promise<void> {
  const { path } = call.request;
  try {
    // Not to hang on a pipe that nobody writes.
    const file = await open(resolvePath(workspace, path), constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      await refuseOwnFile(file, own);
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
      const sent = await sendPieces(call, file, signal);
      if (sent < info.size) await requireUncut(file, info.size, sent);
      if (sent !== info.size) await writeMessage(call, { part: { $case: 'end', value: { size: BigInt(sent) } } });
    } finally {
      await file.close();
    }
  } catch (error) {
    throw fileError(error, path);
  }
}

/** @returns how many bytes there were */
async function sendPieces(
  call: ServerWritableStream<unknown, GetFileResponse>,
  file: FileHandle,
  signal: AbortSignal,
): Promise<number> {
  let position = 0;
  let next = readPiece(file, position);
  for (;;) {
    const piece = await next;
    if (piece.length === 0) return position;
    position += piece.length;
    next = readPiece(file, position);
    // Awaited in the next round; a failure in between is not unhandled.
    next.catch(() => undefined);
    signal.throwIfAborted();
    await writeMessage(call, { part: { $case: 'data', value: piece } });
  }
}

async function readPiece(file: FileHandle, position: number): Promise<Buffer> {
  const { bytesRead, buffer } = await file.read(Buffer.allocUnsafeSlow(PIECE_BYTES), 0, PIECE_BYTES, position);
  return buffer.subarray(0, bytesRead);
}

/** A file may say that it is larger than it is, as those in /sys do. One that is smaller than it was when it was begun has lost its end. */
async function requireUncut(file: FileHandle, size: number, sent: number): Promise<void> {
  if ((await file.stat()).size >= size) return;
  throw new RpcError(
    'file.changed',
    status.ABORTED,
    `the file became shorter while it was read: expected ${size} bytes, got ${sent}`,
  );
}
