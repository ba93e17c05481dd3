import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import type { ServiceError } from '@grpc/grpc-js';
import { TracedCall } from '../runtime/rpc/trace';
import { SessionServiceService } from '../proto/gen/licensing/v1/session';
import type { PutFileRequest, SessionServiceClient } from '../proto/gen/licensing/v1/session';
import { wholeSource } from './whole-source';

/** A readable stream with the mode (permission bits) and the expected size (bytes) of the file, which is as large as the stream is in the end. */
export type FileSource = Readable & { mode: number; size: number };

/** Bytes of one message. */
const PIECE_BYTES = 256 * 1024;

export async function putFile(client: SessionServiceClient, source: string | FileSource, path: string): Promise<void> {
  if (typeof source !== 'string') return send(client, source, { path, mode: source.mode & 0o777, size: source.size });
  // Not to wait for who writes into a FIFO.
  const file = await open(source, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const info = await file.stat();
    if (!info.isFile()) throw new TypeError(`expected ${source} to be a regular file`);
    await send(client, wholeSource(file, info.size), { path, mode: info.mode & 0o777, size: info.size });
  } finally {
    await file.close();
  }
}

async function send(
  client: SessionServiceClient,
  source: Readable,
  header: { path: string; mode: number; size: number },
): Promise<void> {
  let settled = false;
  let sent = 0;
  // Ends whatever is being waited for: the source may stall for ever while the enclave is gone. Not by Promise.race with the answer, which would hold on to
  // every chunk until there is one.
  let wake = (): void => undefined;
  let failure: ServiceError | null = null;
  const traced = new TracedCall(SessionServiceService.putFile.path);
  const call = client.putFile(traced.metadata, (error) => {
    settled = true;
    failure = error;
    wake();
  });
  traced.follow(call);
  // The callback has it too.
  call.on('error', () => undefined);
  call.on('drain', () => wake());
  const woken = (): Promise<void> => new Promise((resolve) => (wake = resolve));
  const write = async (message: PutFileRequest): Promise<void> => {
    if (!settled && !call.write(message)) await woken();
  };
  const chunks = source[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  const nextChunk = (): Promise<Buffer | undefined> =>
    new Promise((resolve, reject) => {
      wake = () => settled && resolve(undefined);
      chunks.next().then(({ value, done }) => resolve(done ? undefined : (value as Buffer)), reject);
    });
  try {
    await write({ part: { $case: 'header', value: { ...header, size: BigInt(header.size) } } });
    for (let chunk = await nextChunk(); chunk && !settled; chunk = await nextChunk()) {
      for (let start = 0; start < chunk.length; start += PIECE_BYTES) {
        await write({ part: { $case: 'data', value: chunk.subarray(start, start + PIECE_BYTES) } });
      }
      sent += chunk.length;
    }
    // Enclaves of before know no end; a file that has not changed needs none.
    if (sent !== header.size) await write({ part: { $case: 'end', value: { size: BigInt(sent) } } });
    call.end();
    while (!settled) await woken();
    if (failure) throw failure as ServiceError;
  } catch (error) {
    source.destroy();
    call.cancel();
    throw error;
  }
}
