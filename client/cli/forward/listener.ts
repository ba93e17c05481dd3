import { lstat, unlink } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { AddressInfo, ListenOptions, Server, Socket } from 'node:net';
import { CliError, EXIT } from '../exit';
import { bracketed } from './places';
import type { ListenPlace } from './places';

/** An open place on this machine. */
export interface Listener {
  /** What listens, as programs read it. */
  listening: Array<{ address: string; port: number } | { socket: string }>;
  close(): void;
}

/** Ports that are looked at for a free one. */
const TRIES = 100;
/** What a system says without this kind of address. */
const NO_SUCH_FAMILY = new Set(['EADDRNOTAVAIL', 'EAFNOSUPPORT']);

/**
 * Listens on this machine; of a port on every address that it has, always the same one.
 * @throws CliError that names the place
 */
export async function listen(place: ListenPlace, onConnection: (socket: Socket) => void): Promise<Listener> {
  if ('socket' in place) return listenOnSocket(place.socket, onConnection);
  const { addresses, port, anyPort } = place;
  for (let candidate = port; ; candidate++) {
    try {
      return await listenOnPort(addresses, candidate, onConnection);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const another = code === 'EADDRINUSE' && (anyPort || port === 0) && candidate < Math.min(port + TRIES, 65_535);
      // The system chose one that only the other kind of address has taken: it chooses again.
      if (another && port === 0) candidate = -1;
      if (!another) throw unlistened(`${bracketed(String(addresses[0]))}:${port}`, error, port);
    }
  }
}

async function listenOnPort(
  addresses: string[],
  wanted: number,
  onConnection: (socket: Socket) => void,
): Promise<Listener> {
  const servers: Server[] = [];
  const close = (): void => servers.forEach((server) => void server.close());
  let port = wanted;
  try {
    for (const host of addresses) {
      try {
        const server = await opened({ host, port, ipv6Only: true }, onConnection);
        servers.push(server);
        ({ port } = server.address() as AddressInfo);
      } catch (error) {
        if (servers.length === 0 || !NO_SUCH_FAMILY.has(String((error as NodeJS.ErrnoException).code))) throw error;
      }
    }
  } catch (error) {
    close();
    throw error;
  }
  return { listening: servers.map((server) => ({ address: (server.address() as AddressInfo).address, port })), close };
}

/** Only its owner may connect. One that a killed program left is replaced, anything else is not. */
async function listenOnSocket(socket: string, onConnection: (socket: Socket) => void): Promise<Listener> {
  try {
    if (await isDead(socket)) await unlink(socket);
    const server = await opened({ path: socket }, onConnection);
    return { listening: [{ socket }], close: () => void server.close() };
  } catch (error) {
    throw unlistened(socket, error);
  }
}

async function isDead(path: string): Promise<boolean> {
  const info = await lstat(path).catch(() => undefined);
  if (info?.isSocket() !== true) return false;
  return new Promise((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(false);
    });
    probe.on('error', ({ code }: NodeJS.ErrnoException) => resolve(code === 'ECONNREFUSED'));
  });
}

function opened(where: ListenOptions, onConnection: (socket: Socket) => void): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, onConnection);
    server.once('error', reject);
    // Bound before `listen` returns: a socket is never there for others, not for a moment.
    const mask = where.path === undefined ? undefined : process.umask(0o177);
    try {
      server.listen(where, () => {
        server.off('error', reject);
        // Of a connection that could not be taken, for want of descriptors say: the next one may be.
        server.on('error', () => undefined);
        resolve(server);
      });
    } finally {
      if (mask !== undefined) process.umask(mask);
    }
  });
}

function unlistened(place: string, error: unknown, port?: number): CliError {
  const { code, message } = error as NodeJS.ErrnoException;
  const hints: Record<string, string> = {
    EADDRINUSE: port === undefined ? 'something else is there' : '0:PORT takes any port that is free',
    EACCES: 'ports below 1024 are for root: 8080:80, say',
  };
  return new CliError(
    EXIT.failure,
    `can't listen on ${place}: ${code ?? message}`,
    { hint: port === undefined && code === 'EACCES' ? undefined : hints[code ?? ''] },
    { cause: error },
  );
}
