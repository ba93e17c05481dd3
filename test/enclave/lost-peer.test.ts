import { connect as connectTcp, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { connect } from '../../client/index';
import type { EnclaveConnection } from '../../client/index';
import { startEnclaveFixture } from '../support/enclave';
import type { EnclaveFixture } from '../support/enclave';
import { eventually, stalled } from '../support/eventually';
import { isAlive } from '../support/remote-command';

let fixture: EnclaveFixture;
beforeAll(async () => {
  fixture = await startEnclaveFixture();
});
afterAll(() => fixture.stop());

/** A way to the enclave that can go wrong. */
interface Way {
  port: number;
  /** As the system does for a client that is killed before it has read everything. */
  reset(): void;
  /** Lets nothing through any more, in either direction, and tells nobody. */
  cut(): void;
  stop(): void;
}

async function startWay(): Promise<Way> {
  const sockets: Socket[] = [];
  const outside: Socket[] = [];
  const server: Server = createServer((inner) => {
    const outer = connectTcp({ port: fixture.enclave.ports.tls as number, host: '127.0.0.1' });
    outside.push(outer);
    for (const [one, other] of [
      [inner, outer],
      [outer, inner],
    ] as const) {
      sockets.push(one);
      one.on('error', () => undefined);
      one.on('close', () => other.destroy());
      one.pipe(other);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    reset: () => outside.forEach((socket) => socket.resetAndDestroy()),
    cut: () =>
      sockets.forEach((socket) => {
        socket.unpipe();
        socket.pause();
      }),
    stop: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** A client whose command writes more than anybody reads. @returns its process */
async function startWriting(way: Way): Promise<{ connection: EnclaveConnection; pid: number }> {
  const session = await fixture.session();
  session.enclave.tlsAddress = `127.0.0.1:${way.port}`;
  const connection = await connect(fixture.trust, session);
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  connection.exec(['sh', '-c', 'echo $$ >&2; read go; exec yes'], { stdin, stdout, stderr }).catch(() => undefined);
  const [pid] = await new Promise<Buffer[]>((resolve) => stderr.once('data', (data: Buffer) => resolve([data])));
  // Not before: what nobody reads of one output holds the other one up, and they come in either order.
  stdin.write('\n');
  await eventually(() => stdout.readableLength > 0);
  await stalled(() => stdout.readableLength);
  return { connection, pid: Number(pid) };
}

test('a client that was killed while output waits for it is noticed at once, one whose network is lost by the next ping', async () => {
  const [killed, lost] = [await startWay(), await startWay()];
  const [one, other] = [await startWriting(killed), await startWriting(lost)];
  lost.cut();
  killed.reset();
  await eventually(() => !isAlive(one.pid));
  expect(isAlive(other.pid)).toBe(true);
  await eventually(() => !isAlive(other.pid));
  const looking = await connect(fixture.trust, await fixture.session());
  await eventually(async () => {
    const { sessions, commands } = await looking.status();
    return sessions === 1 && commands === 0;
  });
  looking.close();
  for (const { connection } of [one, other]) connection.close();
  for (const way of [killed, lost]) way.stop();
});
