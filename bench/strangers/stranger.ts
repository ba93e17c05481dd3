import { fork } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';

/** What a stranger does without end: stranger.mjs. */
export interface Attack {
  kind: 'resets' | 'calls' | 'silent';
  /** Of plain HTTP, or a unix socket's. */
  target: { port: number } | { path: string };
  /** Inside TLS, which is not checked. */
  tls?: boolean | undefined;
  /** Whose it is. */
  localAddress?: string;
  connections: number;
  /** Full name of a method. */
  path?: string;
  /** Of a call, as gRPC frames it. An empty message, unless told. */
  body?: Buffer;
  /** Calls of a connection. */
  atOnce?: number;
  /** The requests have no end. */
  open?: boolean;
  /** The answers are not read. */
  unread?: boolean;
  /** Between a call's end and the next. */
  pauseMs?: number;
}

/** A message as gRPC frames it. */
export function framed(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** Begins an attack. @returns what ends it, and tells how many calls or connections were tried */
export function startStranger({ body, ...attack }: Attack): () => Promise<number> {
  const child = fork(resolve('bench/strangers/stranger.mjs'), { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  child.send({ ...attack, body: body?.toString('base64') });
  return async () => {
    const told = once(child, 'message') as Promise<[{ tried: number }]>;
    child.send('stop');
    const [{ tried }] = await told;
    await once(child, 'exit');
    return tried;
  };
}
