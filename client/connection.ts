import type { Writable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import type { VerifiedEvidence } from '../attestation/evidence/verify';
import { callUnary } from '../runtime/rpc/client';
import { RpcError } from '../runtime/rpc/errors';
import { Windows } from '../runtime/rpc/windows';
import type { GetStatusResponse, SessionServiceClient } from '../proto/gen/licensing/v1/session';
import { callError, unavailable } from './errors';
import { runCommand } from './exec';
import { askForForwarding, forward } from './forward';
import type { ForwardOptions, ForwardTarget } from './forward';
import type { CommandExit, ExecOptions } from './exec';
import { getFile } from './get-file';
import { putFile } from './put-file';
import type { HeldSeat } from './seat';
import type { FileSource } from './put-file';

const STATUS_TIMEOUT_MS = 15_000;

/** A verified connection to an enclave. It never reconnects, because the verification covers this connection only. */
export class EnclaveConnection {
  /** Resolves when the connection ends: with undefined after `close`, otherwise with the reason. Never rejects. */
  readonly closed: Promise<Error | undefined>;
  private ending: Promise<void> | undefined;
  private readonly windows = new Windows();

  constructor(
    private readonly client: SessionServiceClient,
    private readonly socket: TLSSocket,
    /** Verified evidence: of the login (`certificate`), and of this connection (`session`). */
    readonly evidence: { certificate: VerifiedEvidence; session: VerifiedEvidence },
    /** The seat that this connection holds; undefined if the enclave requires none. */
    readonly seat?: Pick<HeldSeat, 'id' | 'expiresAt' | 'leave' | 'end'>,
  ) {
    this.closed = new Promise((resolve) => {
      const ended = (): void =>
        resolve(this.ending ? undefined : unavailable('connection.closed', 'the connection to the enclave ended'));
      if (socket.destroyed) ended();
      else socket.once('close', ended);
    });
    // Whoever ended it: the session is over.
    void this.closed.then(() => seat?.end());
  }

  /**
   * Runs a command in the enclave, without a shell. Resolves when it exits, whatever its status.
   * @param argv program and arguments
   * @example
   * const { code } = await enclave.exec(['sha256sum', '-'], {
   *   stdin: createReadStream('thesis.pdf'),
   *   stdout: process.stdout,
   *   stderr: process.stderr,
   * });
   * @throws RpcError exec.not_found, exec.not_executable, exec.argv, exec.env, exec.failed, exec.no_exit, seat.required,
   * connection.closed
   */
  exec(argv: readonly string[], options: ExecOptions): Promise<CommandExit> {
    return this.explained(() => runCommand(this.client, argv, options));
  }

  /**
   * Writes a file in the enclave with its mode: all that was read of the source, or nothing.
   * @param source local path, or a stream with its mode and expected size in bytes
   * @param path in the enclave, absolute or relative to the workspace
   * @throws RpcError file.path, file.denied, file.is_folder, file.no_space, connection.closed and others; TypeError if
   * `source` is not a regular file
   */
  putFile(source: string | FileSource, path: string): Promise<void> {
    return this.explained(() => putFile(this.client, source, path));
  }

  /**
   * Reads a file from the enclave.
   * @param path in the enclave, absolute or relative to the workspace
   * @param target local path, or a stream, which stays open. A regular file is written with the file's mode, as a whole where it can be replaced; devices,
   * FIFOs and what this process has open (/dev/fd/N) are written into
   * @param options.signal ends the wait for a FIFO's reader
   * @throws RpcError file.not_found, file.denied, file.not_regular, file.stream, connection.closed and others
   */
  getFile(path: string, target: string | Writable, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    return this.explained(() => getFile(this.client, path, target, signal ? [signal] : []));
  }

  /**
   * Connects two local streams, or a socket, to a program in the enclave. Resolves when both directions are at their end.
   * @example
   * createServer({ allowHalfOpen: true }, (socket) => {
   *   enclave.forward({ port: 8888 }, { input: socket, output: socket }).catch(() => socket.resetAndDestroy());
   * }).listen(8888, '127.0.0.1');
   * @throws RpcError forward.refused, forward.unreachable, forward.reset, forward.address, forward.too_many, file.…, seat.…, connection.closed;
   * what the local streams fail with
   */
  forward(target: ForwardTarget, options: ForwardOptions): Promise<void> {
    return this.explained(() => forward(this.client, target, options, this.windows));
  }

  /** Whether this enclave can `forward`: one of an older release can't. @throws RpcError connection.closed */
  async canForward(): Promise<boolean> {
    try {
      await this.explained(() => askForForwarding(this.client));
      return true;
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      if (error.code === 'rpc.unimplemented') return false;
      if (error.code === 'forward.stream') return true;
      throw error;
    }
  }

  /** Asks the enclave for its state: `startedAt` in Unix seconds, open sessions and commands. @throws RpcError connection.closed */
  status(): Promise<GetStatusResponse> {
    return this.explained(() => callUnary(this.client, this.client.getStatus, {}, { timeout: STATUS_TIMEOUT_MS }));
  }

  /**
   * Ends the connection and every command running on it, in the background: the enclave is asked to end them first, so that it says that the seat is free.
   */
  close(): void {
    void this.end();
  }

  /** As `close`, but resolves once the seat is returned, or the attempt timed out. Use it before the process exits. */
  end(): Promise<void> {
    return (this.ending ??= this.endAll());
  }

  private async endAll(): Promise<void> {
    if (!this.socket.destroyed) await this.seat?.leave();
    this.client.close();
    this.socket.destroy();
    await this.seat?.end();
  }

  private async explained<T>(work: () => Promise<T>): Promise<T> {
    if (this.ending || this.socket.destroyed) throw ended();
    try {
      const done = await work();
      // What the enclave ended because it was asked to has not come to its own end.
      if (!this.ending) return done;
    } catch (error) {
      // A connection that is lost fails its calls a moment before it is said to be closed.
      await setImmediate();
      throw callError(error, this.ending !== undefined || this.socket.destroyed);
    }
    throw ended();
  }
}

function ended(): Error {
  return unavailable('connection.closed', 'the connection to the enclave has ended');
}
