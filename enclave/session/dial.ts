import { constants } from 'node:fs';
import { open, readlink, realpath } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { connect, isIPv4 } from 'node:net';
import type { NetConnectOpts, Socket } from 'node:net';
import { status } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';
import type { ForwardTarget, TcpTarget } from '../../proto/gen/licensing/v1/session';
import { fileError, resolvePath } from './paths';

/** A loopback that doesn't answer has a listener whose queue is full. */
const DIAL_MS = 10_000;
/** open(2): the file itself, whatever it is, and nothing done with it. Node has no name for it. */
const O_PATH = 0o10000000;

/**
 * Connects to a port of the enclave's own loopback, or to a unix socket that lies in its workspace: what else this program could reach is not the client's.
 * @throws RpcError `forward.address`, `forward.refused`, `forward.unreachable`, `file.…`
 */
export function dial({ place }: ForwardTarget, workspace: string, signal: AbortSignal): Promise<Socket> {
  switch (place?.$case) {
    case 'tcp':
      return dialPort(place.value, signal);
    case 'socket':
      return dialSocket(place.value, workspace, signal);
    case undefined:
      throw refusedAddress('expected a port or a socket, got neither');
  }
}

async function dialPort({ host, port }: TcpTarget, signal: AbortSignal): Promise<Socket> {
  if (port < 1 || port > 65_535) throw refusedAddress(`expected a port from 1 to 65535, got ${port}`);
  const [first, second] = loopbackOf(host);
  const name = `port ${port} of the enclave`;
  try {
    return await dialled({ host: first, port }, name, signal);
  } catch (error) {
    if (second === undefined || signal.aborted) throw error;
    return dialled({ host: second, port }, name, signal).catch(() => {
      throw error;
    });
  }
}

/** Never by a name: who works in the enclave may have a say in what names mean there. */
function loopbackOf(host: string): [string, string?] {
  if (host === 'localhost') return ['127.0.0.1', '::1'];
  if ((isIPv4(host) && host.startsWith('127.')) || host === '::1') return [host];
  throw refusedAddress(`expected an address of the enclave's own loopback, got ${JSON.stringify(host)}`);
}

async function dialSocket(path: string, workspace: string, signal: AbortSignal): Promise<Socket> {
  const resolved = resolvePath(workspace, path);
  let file: FileHandle | undefined;
  try {
    file = await open(resolved, O_PATH | constants.O_NOFOLLOW);
    await requireOwnSocket(file, path, workspace);
    // By what was looked at, and not by its name: that may be something else by now, and longer than a socket's address may be.
    return await dialled({ path: `/proc/self/fd/${file.fd}` }, JSON.stringify(path), signal);
  } catch (error) {
    throw fileError(error, path);
  } finally {
    await file?.close();
  }
}

async function requireOwnSocket(file: FileHandle, path: string, workspace: string): Promise<void> {
  const info = await file.stat();
  if (!info.isSocket()) throw refusedAddress(`expected ${JSON.stringify(path)} to be a unix socket, got another file`);
  const [place, root] = [await readlink(`/proc/self/fd/${file.fd}`), await realpath(workspace)];
  // A second name may be in another place.
  if (!place.startsWith(`${root}/`) || info.nlink !== 1)
    throw refusedAddress(`expected a unix socket in the workspace, got ${JSON.stringify(path)}`);
}

function dialled(to: NetConnectOpts, name: string, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...to, allowHalfOpen: true, noDelay: true });
    const timer = setTimeout(() => socket.destroy(unreachable(`${name} doesn't take connections`)), DIAL_MS);
    const abort = (): void => void socket.destroy(signal.reason as Error);
    const over = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      socket.off('error', failed);
    };
    const failed = (error: NodeJS.ErrnoException): void => {
      over();
      reject(error instanceof RpcError ? error : explained(error, name));
    };
    socket.once('error', failed);
    socket.once('connect', () => {
      over();
      resolve(socket);
    });
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  });
}

function explained(error: NodeJS.ErrnoException, name: string): RpcError {
  if (error.code === 'ECONNREFUSED')
    return new RpcError('forward.refused', status.FAILED_PRECONDITION, `nothing listens on ${name}`, { cause: error });
  return unreachable(`no connection to ${name}: ${error.code ?? error.message}`, error);
}

function unreachable(message: string, cause?: unknown): RpcError {
  return new RpcError('forward.unreachable', status.FAILED_PRECONDITION, message, { cause });
}

function refusedAddress(message: string): RpcError {
  return new RpcError('forward.address', status.PERMISSION_DENIED, message);
}
