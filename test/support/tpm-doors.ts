import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';

/** Other ways to a software TPM whose unix socket is there: each test says what goes through it. */
export interface Door {
  tcti: string;
  close(): Promise<void>;
}

/** swtpm's own protocol on two TCP ports, data and control. */
export function overTcp(socket: string): Promise<Door> {
  const to = (path: string) => (client: Socket) => {
    const tpm = connect(path);
    client.pipe(tpm).pipe(client);
    for (const [one, other] of [
      [client, tpm],
      [tpm, client],
    ] as const)
      one.on('error', () => other.destroy()).on('close', () => other.destroy());
  };
  return door('swtpm', to(socket), to(`${socket}.ctrl`));
}

/** The TCG simulator's protocol (TpmTcpProtocol.h) in front of it: the command port, and a platform port that agrees to everything. */
export function asSimulator(socket: string): Promise<Door> {
  return door(
    'mssim',
    (client) => {
      const tpm = connect(socket);
      let rest = Buffer.alloc(0);
      client.on('data', (piece) => {
        rest = Buffer.concat([rest, piece]);
        while (rest.length >= 4) {
          if (rest.readUInt32BE() === 20) return void client.end();
          const size = rest.length < 9 ? Infinity : rest.readUInt32BE(5);
          if (rest.readUInt32BE() !== 8 || rest.length < 9 + size) return;
          tpm.write(rest.subarray(9, 9 + size));
          rest = rest.subarray(9 + size);
        }
      });
      tpm.on('data', (response) => {
        const size = Buffer.alloc(4);
        size.writeUInt32BE(response.length);
        client.write(Buffer.concat([size, response, Buffer.alloc(4)]));
      });
      client.on('error', () => undefined).on('close', () => tpm.destroy());
      tpm.on('error', () => client.destroy()).on('close', () => client.destroy());
    },
    (client) => client.on('error', () => undefined).on('data', () => client.write(Buffer.alloc(4))),
  );
}

/** Two ports, one after the other. */
async function door(name: string, first: (client: Socket) => void, second: (client: Socket) => void): Promise<Door> {
  for (let port = 20_000 + (process.pid % 20_000); ; port += 2) {
    const servers: Server[] = [];
    const clients = new Set<Socket>();
    const close = async (): Promise<void> => {
      for (const client of clients) client.destroy();
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    };
    try {
      for (const [at, serve] of [first, second].entries()) {
        const server = createServer((client) => {
          clients.add(client);
          serve(client);
        });
        servers.push(server);
        await once(server.listen(port + at, '127.0.0.1'), 'listening');
      }
      return { tcti: `${name}:host=127.0.0.1,port=${port}`, close };
    } catch (error) {
      await close();
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    }
  }
}
