import { once } from 'node:events';
import { linkSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { connect } from '../../../client/index';
import type { EnclaveConnection, ForwardTarget } from '../../../client/index';
import { startEnclaveFixture } from '../../support/enclave';
import type { EnclaveFixture } from '../../support/enclave';
import { eventually, stalled } from '../../support/eventually';

let fixture: EnclaveFixture;
let connection: EnclaveConnection;
const servers: Server[] = [];
beforeAll(async () => {
  fixture = await startEnclaveFixture();
  connection = await connect(fixture.trust, await fixture.session());
});
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});
afterAll(async () => {
  connection.close();
  await fixture.stop();
});

/** A program in the enclave: the fixture's loopback is the machine's. */
async function program(serve: (socket: Socket) => void, where: { host?: string; path?: string } = {}): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    serve(socket);
  });
  servers.push(server);
  server.listen(where.path === undefined ? { host: '127.0.0.1', port: 0, ...where } : where);
  await once(server, 'listening');
  return where.path === undefined ? (server.address() as AddressInfo).port : 0;
}

function forwarded(target: ForwardTarget, through = connection, signal?: AbortSignal) {
  const [input, output] = [new PassThrough(), new PassThrough()];
  const over = through.forward(target, { input, output, signal });
  over.catch(() => undefined);
  return { input, output, over };
}

const echo = (socket: Socket): void => void socket.pipe(socket);

test('bytes go both ways, and each direction ends by itself', async () => {
  // Answers at its end alone, as what reads until that does.
  const port = await program((socket) => {
    let bytes = 0;
    socket.on('data', (chunk: Buffer) => (bytes += chunk.length)).on('end', () => socket.end(`${bytes} bytes`));
  });
  const { input, output, over } = forwarded({ port });
  input.end(Buffer.alloc(3_000_000));
  expect(await text(output)).toBe('3000000 bytes');
  await over;
});

test('the program may end its side first, and still reads what comes', async () => {
  let read: Promise<Buffer> | undefined;
  const port = await program((socket) => {
    socket.end('bye');
    read = buffer(socket);
  });
  const { input, output, over } = forwarded({ port });
  expect(await text(output)).toBe('bye');
  input.end('still here');
  await over;
  expect(String(await read)).toBe('still here');
});

test('large amounts arrive whole, however slowly they are read', async () => {
  const port = await program(echo);
  const { input, output, over } = forwarded({ port });
  input.end(Buffer.alloc(5_000_000, 'x'));
  await stalled(() => input.readableLength);
  expect((await buffer(output)).equals(Buffer.alloc(5_000_000, 'x'))).toBe(true);
  await over;
});

test('localhost is 127.0.0.1, and ::1 where that refuses', async () => {
  const port = await program(echo, { host: '::1' });
  for (const target of [{ port }, { port, host: '::1' }]) {
    const { input, output } = forwarded(target);
    input.end('six');
    expect(await text(output)).toBe('six');
  }
  await expect(forwarded({ port, host: '127.0.0.1' }).over).toRejectWithCode('forward.refused');
});

test('where nothing listens the message says so', async () => {
  const port = await program(echo);
  servers.splice(0).forEach((server) => server.close());
  const { over } = forwarded({ port });
  await expect(over).rejects.toMatchObject({
    code: 'forward.refused',
    message: `nothing listens on port ${port} of the enclave`,
  });
});

test.each([
  '10.0.0.1',
  '0.0.0.0',
  '::',
  '169.254.169.254',
  'example.com',
  '::ffff:127.0.0.1',
  '127.1',
  '',
  'LOCALHOST',
])('an address that is not of the loopback is refused: %j', async (host) => {
  const port = await program(echo);
  await expect(forwarded({ port, host }).over).toRejectWithCode('forward.address');
});

test.each([0, 65_536])('%d is no port', async (port) => {
  await expect(forwarded({ port }).over).toRejectWithCode('forward.address');
});

test('a connection that is cut at one side is cut at the other', async () => {
  let accepted: Socket | undefined;
  const port = await program((socket) => (accepted = socket));
  const ended = forwarded({ port });
  await eventually(() => accepted !== undefined);
  accepted!.resetAndDestroy();
  await expect(ended.over).toRejectWithCode('forward.reset');

  accepted = undefined;
  const giving = new AbortController();
  const given = forwarded({ port }, connection, giving.signal);
  await eventually(() => accepted !== undefined);
  const failed = once(accepted!, 'error');
  giving.abort();
  await expect(given.over).toRejectWithCode('rpc.cancelled');
  expect(await failed).toMatchObject([{ code: 'ECONNRESET' }]);
});

describe('unix sockets', () => {
  test('in the workspace are reached by path, also by one that is longer than a socket’s address', async () => {
    const folder = 'f'.repeat(200);
    mkdirSync(join(fixture.workspace, folder));
    // Made where there is room for its name.
    await program(echo, { path: join(fixture.workspace, 'echo.sock') });
    for (const socket of ['echo.sock', `${folder}/../echo.sock`, join(fixture.workspace, 'echo.sock')]) {
      const { input, output } = forwarded({ socket });
      input.end('through');
      expect(await text(output)).toBe('through');
    }
  });

  test('elsewhere are refused, by whatever name, and so is what is no socket', async () => {
    const outside = join(fixture.folder, 'outside.sock');
    await program(echo, { path: outside });
    symlinkSync(outside, join(fixture.workspace, 'link.sock'));
    symlinkSync(fixture.folder, join(fixture.workspace, 'out'));
    linkSync(outside, join(fixture.workspace, 'hard.sock'));
    writeFileSync(join(fixture.workspace, 'file'), '');
    for (const socket of [outside, '../outside.sock', 'link.sock', 'out/outside.sock', 'hard.sock', 'file'])
      await expect(forwarded({ socket }).over).toRejectWithCode('forward.address');
    // Which signs what this enclave is.
    await expect(forwarded({ socket: '../attestor.sock' }).over).toRejectWithCode('forward.address');
    await expect(forwarded({ socket: 'nowhere.sock' }).over).toRejectWithCode('file.not_found');
  });
});

test('a first message that names no place is refused, and that is how a client asks whether there are such calls', async () => {
  expect(await connection.canForward()).toBe(true);
});

test('a thousand connections at once over one session, most of which nobody reads: the others go on, and one more is refused', async () => {
  const own = await connect(fixture.trust, await fixture.session());
  const stuck: Socket[] = [];
  const silent = await program((socket) => stuck.push(socket.pause()));
  const port = await program(echo);
  const many = Array.from({ length: 1000 }, () => forwarded({ port: silent }, own));
  for (const { input } of many) input.write(Buffer.alloc(100_000));
  await eventually(() => stuck.length === 1000);
  const rest = Array.from({ length: 24 }, () => forwarded({ port }, own));
  for (const { input } of rest) input.write('there');
  await Promise.all(rest.map(({ output }) => once(output, 'data')));
  await expect(forwarded({ port }, own).over).toRejectWithCode('forward.too_many');
  for (const { input } of rest) input.end(' and back');
  expect(await Promise.all(rest.map(({ output }) => text(output)))).toEqual(Array(24).fill(' and back'));
  // Whoever ended makes room.
  await Promise.all(rest.map(({ over }) => over));
  const another = forwarded({ port }, own);
  another.input.end('room');
  expect(await text(another.output)).toBe('room');
  own.close();
  await Promise.allSettled(many.map(({ over }) => over));
  // All ended at the other side too.
  for (const socket of stuck) socket.resume();
  await eventually(() => stuck.every(({ destroyed, readableEnded }) => destroyed || readableEnded));
});

test('the end of the session cuts what is open', async () => {
  const own = await connect(fixture.trust, await fixture.session());
  let accepted: Socket | undefined;
  const port = await program((socket) => (accepted = socket.resume()));
  const { over } = forwarded({ port }, own);
  await eventually(() => accepted !== undefined);
  own.close();
  await expect(over).toRejectWithCode('connection.closed');
  await eventually(() => accepted!.destroyed);
});
