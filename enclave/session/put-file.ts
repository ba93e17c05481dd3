import { randomBytes } from 'node:crypto';
import { open, realpath, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { status } from '@grpc/grpc-js';
import type { ServerReadableStream } from '@grpc/grpc-js';
import { SyncedFile } from '../../runtime/files/synced-file';
import { syncToDisk } from '../../runtime/files/whole-file';
import { RpcError } from '../../runtime/rpc/errors';
import { CallReader } from '../../runtime/rpc/read-call';
import type { FileHeader, PutFileRequest, PutFileResponse } from '../../proto/gen/licensing/v1/session';
import { fileError, resolvePath } from './paths';

type Parts = CallReader<PutFileRequest>;

/**
 * Writes the file that the client streams: header, then exactly the announced bytes. The pieces go to a temporary file beside the target, which takes
 * its place in one step once everything is on disk; whatever goes wrong before that leaves nothing.
 * @param begin asked once it is known what to write: a call may have been open for long before that. Throws where nothing may begin
 * @throws RpcError `file.…`
 */
export async function receiveFile(
  call: ServerReadableStream<PutFileRequest, PutFileResponse>,
  workspace: string,
  { signal, begin }: { signal: AbortSignal; begin(): void },
): Promise<PutFileResponse> {
  const parts = new CallReader(call, signal);
  const header = await readHeader(parts);
  begin();
  try {
    const target = await followLinks(resolvePath(workspace, header.path));
    await requireRegularFile(target);
    const partial = join(dirname(target), `.${basename(target).slice(0, 200)}.${randomBytes(8).toString('hex')}.part`);
    const file = await open(partial, 'wx', 0o600);
    try {
      const synced = new SyncedFile(file);
      await writeParts(synced, parts, header.size, signal);
      await file.chmod(header.mode);
      await synced.sync();
      await file.close();
      await rename(partial, target);
    } catch (error) {
      await file.close().catch(() => undefined);
      await unlink(partial).catch(() => undefined);
      throw error;
    }
    await syncToDisk(dirname(target));
  } catch (error) {
    throw fileError(error, header.path);
  }
  return { size: header.size };
}

async function readHeader(parts: Parts): Promise<FileHeader> {
  const first = await parts.next();
  if (first?.part?.$case !== 'header') throw invalid('expected the file header first');
  const header = first.part.value;
  if (header.size < 0n) throw invalid(`expected a size of 0 or more, got ${header.size}`);
  if (header.mode > 0o777) throw invalid(`expected permission bits up to 0o777, got 0o${header.mode.toString(8)}`);
  return header;
}

async function writeParts(file: SyncedFile, parts: Parts, size: bigint, signal: AbortSignal): Promise<void> {
  let written = 0n;
  for (;;) {
    const next = await parts.next();
    if (next === undefined) break;
    if (next.part?.$case !== 'data') throw invalid('expected data after the header');
    const piece = next.part.value;
    written += BigInt(piece.length);
    if (written > size) throw invalid(`expected ${size} bytes, got more`);
    await file.write(piece);
  }
  signal.throwIfAborted();
  if (written < size) throw invalid(`expected ${size} bytes, got ${written}`);
}

function invalid(message: string): RpcError {
  return new RpcError('file.stream', status.INVALID_ARGUMENT, message);
}

/** A link is written through, as `cp` does; a new name is taken as it is. */
async function followLinks(path: string): Promise<string> {
  return realpath(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return path;
    throw error;
  });
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
