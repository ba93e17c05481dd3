import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { HTTP2_PREFACE } from './session-client';

/** RFC 9113, 6. */
const TYPE = { data: 0, headers: 1, reset: 3, ping: 6 };
const [END_STREAM, END_HEADERS] = [0x1, 0x4];
const CANCEL = Buffer.from([0, 0, 0, 8]);

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const text = (value: string): Buffer => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);

/** Without a table (RFC 7541, 6.2.2): POST and http are 3 and 6 of the static one, :path is 4, :authority 1, content-type 31. */
const headersOf = (path: string): Buffer =>
  Buffer.concat([
    Buffer.from([0x83, 0x86, 0x04]),
    text(path),
    Buffer.from([0x01]),
    text('localhost'),
    Buffer.from([0x0f, 0x10]),
    text('application/grpc'),
    Buffer.from([0x00]),
    text('te'),
    text('trailers'),
  ]);

/** Calls of an empty message and their resets, byte by byte: no client of Node's puts them into one write, where the server reads the reset right after the call. */
export function resets(path: string, count: number): { each: Buffer; begun: Buffer; ended: Buffer } {
  const ids = Array.from({ length: count }, (_, i) => 2 * i + 1);
  const call = (id: number): Buffer[] => [
    frame(TYPE.headers, END_HEADERS, id, headersOf(path)),
    frame(TYPE.data, END_STREAM, id, Buffer.alloc(5)),
  ];
  const reset = (id: number): Buffer => frame(TYPE.reset, 0, id, CANCEL);
  return {
    each: Buffer.concat(ids.flatMap((id) => [...call(id), reset(id)])),
    begun: Buffer.concat(ids.flatMap(call)),
    ended: Buffer.concat(ids.map(reset)),
  };
}

/** Asks whether the server has seen what came before it: it answers in its turn. */
export const PING = frame(TYPE.ping, 0, 0, Buffer.from('answered'));

/** A connection that has said so much. */
export function say(port: number, localAddress: string, bytes: Buffer): Socket {
  const socket = connect({ port, host: '127.0.0.1', localAddress });
  socket.on('error', () => undefined);
  socket.write(Buffer.concat([HTTP2_PREFACE, bytes]));
  return socket;
}

/** Until the server has seen everything that `PING` followed, or has closed the connection. */
export function seenOrClosed(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    let heard = Buffer.alloc(0);
    socket.on('data', (bytes: Buffer) => {
      heard = Buffer.concat([heard, bytes]);
      if (heard.includes('answered')) resolve();
    });
    socket.once('close', () => resolve());
  });
}
