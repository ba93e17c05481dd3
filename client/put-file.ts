import { open } from 'node:fs/promises';
import { Metadata } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import type { PutFileRequest, SessionServiceClient } from '../proto/gen/licensing/v1/session';
import type { FileSource } from './connection';

/** Bytes of one message. */
const PIECE_BYTES = 256 * 1024;

export async function putFile(client: SessionServiceClient, source: string | FileSource, path: string): Promise<void> {
  if (typeof source !== 'string') return send(client, source, { path, mode: source.mode & 0o777, size: source.size });
  const file = await open(source, 'r');
  try {
    const info = await file.stat();
    if (!info.isFile()) throw new TypeError(`expected ${source} to be a regular file`);
    const stream = file.createReadStream({ autoClose: false, highWaterMark: PIECE_BYTES });
    await send(client, stream, { path, mode: info.mode & 0o777, size: info.size });
  } finally {
    await file.close();
  }
}

async function send(client: SessionServiceClient, source: AsyncIterable<unknown>, header: { path: string; mode: number; size: number }): Promise<void> {
  let failure: ServiceError | undefined;
  let settled = false;
  let wake = (): void => undefined;
  const call = client.putFile(new Metadata(), (error) => {
    failure = error ?? undefined;
    settled = true;
    wake();
  });
  // The callback has it too.
  call.on('error', () => undefined);
  call.on('drain', () => wake());
  const woken = (): Promise<void> => new Promise((resolve) => (wake = resolve));
  const write = async (message: PutFileRequest): Promise<void> => {
    if (!settled && !call.write(message) && !settled) await woken();
  };
  try {
    await write({ part: { $case: 'header', value: { ...header, size: BigInt(header.size) } } });
    for await (const chunk of source) {
      const bytes = chunk as Buffer;
      for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
        await write({ part: { $case: 'data', value: bytes.subarray(start, start + PIECE_BYTES) } });
      }
      if (settled) break;
    }
    call.end();
    while (!settled) await woken();
  } catch (error) {
    call.cancel();
    throw error;
  }
  if (failure) throw failure;
}
