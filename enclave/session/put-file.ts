import { stat } from 'node:fs/promises';
import { status } from '@grpc/grpc-js';
import type { ServerReadableStream } from '@grpc/grpc-js';
import { fillFile } from '../../runtime/files/fill-file';
import { RpcError } from '../../runtime/rpc/errors';
import { CallReader } from '../../runtime/rpc/read-call';
import type { FileHeader, PutFileRequest, PutFileResponse } from '../../proto/gen/licensing/v1/session';
import { refuseOwnPlace } from './own-files';
import type { OwnFiles } from './own-files';
import { fileError, resolvePath } from './paths';

type Parts = CallReader<PutFileRequest>;

/**
 * Writes the file that the client streams: header, then the announced bytes, or as many as its end says. See `fillFile` for how: whatever goes wrong
 * leaves nothing.
 * @param begin asked once it is known what to write: a call may have been open for long before that. Throws where nothing may begin
 * @throws RpcError `file.…`
 */
export async function receiveFile(
  call: ServerReadableStream<PutFileRequest, PutFileResponse>,
  workspace: string,
  { signal, own, begin }: { signal: AbortSignal; own: OwnFiles; begin(): void },
): Promise<PutFileResponse> {
  const parts = new CallReader(call, signal);
  const header = await readHeader(parts);
  begin();
  let size = 0n;
  try {
    const path = resolvePath(workspace, header.path);
    await refuseOwnPlace(path, own);
    await requireRegularFile(path);
    await fillFile(path, async (write) => {
      size = await writeParts(write, parts, header.size, signal);
      return header.mode;
    });
  } catch (error) {
    throw fileError(error, header.path);
  }
  return { size };
}

async function readHeader(parts: Parts): Promise<FileHeader> {
  const first = await parts.next();
  if (first?.part?.$case !== 'header') throw invalid('expected the file header first');
  const header = first.part.value;
  if (header.size < 0n) throw invalid(`expected a size of 0 or more, got ${header.size}`);
  if (header.mode > 0o777) throw invalid(`expected permission bits up to 0o777, got 0o${header.mode.toString(8)}`);
  return header;
}

/** @returns how many bytes there were */
async function writeParts(
  write: (piece: Uint8Array) => Promise<void>,
  parts: Parts,
  announced: bigint,
  signal: AbortSignal,
): Promise<bigint> {
  let written = 0n;
  let size = announced;
  for (;;) {
    const next = await parts.next();
    if (next === undefined) break;
    if (next.part?.$case === 'end') {
      size = next.part.value.size;
      if ((await parts.next()) !== undefined) throw invalid('expected nothing after the end');
      break;
    }
    if (next.part?.$case !== 'data') throw invalid('expected data after the header');
    const piece = next.part.value;
    written += BigInt(piece.length);
    await write(piece);
  }
  signal.throwIfAborted();
  if (written !== size) throw invalid(`expected ${size} bytes, got ${written}`);
  return written;
}

function invalid(message: string): RpcError {
  return new RpcError('file.stream', status.INVALID_ARGUMENT, message);
}

async function requireRegularFile(target: string): Promise<void> {
  const info = await stat(target).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (info === undefined || info.isFile()) return;
  if (info.isDirectory()) throw Object.assign(new Error('a folder'), { code: 'EISDIR' });
  throw new RpcError(
    'file.not_regular',
    status.FAILED_PRECONDITION,
    'expected a regular file, got a device, socket or pipe',
  );
}
