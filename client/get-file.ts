import { randomBytes } from 'node:crypto';
import { open, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Writable } from 'node:stream';
import { status } from '@grpc/grpc-js';
import { SyncedFile } from '../runtime/files/synced-file';
import { RpcError } from '../runtime/rpc/errors';
import { TracedCall } from '../runtime/rpc/trace';
import { SessionServiceService } from '../proto/gen/licensing/v1/session';
import type { FileHeader, GetFileResponse, SessionServiceClient } from '../proto/gen/licensing/v1/session';

interface Sink {
  header?(header: FileHeader): void;
  write(bytes: Buffer): Promise<void>;
}

export async function getFile(client: SessionServiceClient, path: string, target: string | Writable): Promise<void> {
  if (typeof target !== 'string') return receive(client, path, { write: (bytes) => writeTo(target, bytes) });
  const partial = join(dirname(target), `.${basename(target).slice(0, 200)}.${randomBytes(8).toString('hex')}.part`);
  const file = await open(partial, 'wx', 0o600);
  const synced = new SyncedFile(file);
  let mode = 0o600;
  try {
    await receive(client, path, {
      header: (header) => (mode = header.mode & 0o777),
      write: (bytes) => synced.write(bytes),
    });
    await file.chmod(mode);
    await synced.sync();
    await file.close();
    await rename(partial, target);
  } catch (error) {
    await file.close().catch(() => undefined);
    await unlink(partial).catch(() => undefined);
    throw error;
  }
}

async function receive(client: SessionServiceClient, path: string, sink: Sink): Promise<void> {
  const traced = new TracedCall(SessionServiceService.getFile.path);
  const call = traced.follow(client.getFile({ path }, traced.metadata));
  let size: bigint | undefined;
  let received = 0n;
  try {
    for await (const message of call) {
      const { part } = message as GetFileResponse;
      if (part?.$case === 'header' && size === undefined) {
        size = part.value.size;
        sink.header?.(part.value);
      } else if (part?.$case === 'data' && size !== undefined) {
        received += BigInt(part.value.length);
        await sink.write(part.value);
      } else {
        throw broken('expected a header, then data');
      }
    }
  } catch (error) {
    call.on('error', () => undefined);
    call.cancel();
    throw error;
  }
  if (received !== size) throw broken(`expected ${String(size)} bytes, got ${received}`);
}

function broken(message: string): RpcError {
  return new RpcError('file.stream', status.DATA_LOSS, message);
}

/** Waits until the stream has taken the bytes, or has failed. */
function writeTo(target: Writable, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    target.once('error', reject);
    target.write(bytes, (error) => {
      target.off('error', reject);
      if (error) reject(error);
      else resolve();
    });
  });
}
