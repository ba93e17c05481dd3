import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/** Below the range that Linux hands out to outgoing connections, so that a port kept for the next run is likely free then. */
const FIRST = 20_000;
const END = 32_000;

/** True when the port can be listened on. */
function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host, port }, () => server.close(() => resolve(true)));
  });
}

/**
 * @param reserved ports that are somebody else's here, whether they are listened on yet or not
 * @returns `wanted` when it is free, another free port otherwise
 */
export async function choosePort(
  host: string,
  wanted: number | undefined,
  reserved: readonly number[],
): Promise<number> {
  if (wanted !== undefined && (await isFree(host, wanted))) return wanted;
  for (;;) {
    const port = randomInt(FIRST, END);
    if (!reserved.includes(port) && (await isFree(host, port))) return port;
  }
}
