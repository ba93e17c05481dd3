import type { Writable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import type { VerifiedEvidence } from '../attestation/evidence/verify';
import { callUnary } from '../runtime/rpc/client';
import type { GetStatusResponse, SessionServiceClient } from '../proto/gen/licensing/v1/session';
import { callError, unavailable } from './errors';
import { runCommand } from './exec';
import type { CommandExit, ExecOptions } from './exec';
import { getFile } from './get-file';
import { putFile } from './put-file';
import type { HeldSeat } from './seat';
import type { FileSource } from './put-file';

const STATUS_TIMEOUT_MS = 15_000;

/** A verified connection to the enclave. It never reconnects by itself: what was verified was this connection. */
export class EnclaveConnection {
  /** Resolves once the connection is over: with nothing after `close`, with the reason otherwise. */
  readonly closed: Promise<Error | undefined>;
  private closing = false;

  constructor(
    private readonly client: SessionServiceClient,
    private readonly socket: TLSSocket,
    /** What was proved: before the connection, and inside it. */
    readonly evidence: { certificate: VerifiedEvidence; session: VerifiedEvidence },
    /** Where the enclave wants one. */
    readonly seat?: Pick<HeldSeat, 'id' | 'expiresAt' | 'end'>,
  ) {
    this.closed = new Promise((resolve) => {
      const ended = (): void =>
        resolve(this.closing ? undefined : unavailable('connection.closed', 'the connection to the enclave ended'));
      if (socket.destroyed) ended();
      else socket.once('close', ended);
    });
    // Whoever ended it: the session is over.
    void this.closed.then(() => seat?.end());
  }

  /**
   * Runs a command in the enclave; no shell is put between. Resolves at its end.
   * @param argv program and arguments
   * @throws RpcError `exec.…`, `connection.closed`
   */
  exec(argv: readonly string[], options: ExecOptions): Promise<CommandExit> {
    return this.explained(() => runCommand(this.client, argv, options));
  }

  /**
   * Writes a file in the enclave: all of it, with its mode, or nothing.
   * @param source local path, or a stream that knows its size
   * @param path in the enclave; relative to the workspace, or absolute
   * @throws RpcError `file.…`, `connection.closed`
   */
  putFile(source: string | FileSource, path: string): Promise<void> {
    return this.explained(() => putFile(this.client, source, path));
  }

  /**
   * Reads a file of the enclave's.
   * @param target local path (all of the file with its mode, or nothing), or a stream, which stays open
   * @throws RpcError `file.…`, `connection.closed`
   */
  getFile(path: string, target: string | Writable): Promise<void> {
    return this.explained(() => getFile(this.client, path, target));
  }

  status(): Promise<GetStatusResponse> {
    return this.explained(() => callUnary(this.client, this.client.getStatus, {}, { timeout: STATUS_TIMEOUT_MS }));
  }

  /** Ends the connection and whatever runs on it. Its seat is given back meanwhile. */
  close(): void {
    this.closing = true;
    this.client.close();
    this.socket.destroy();
  }

  /** As `close`; resolves when the seat is given back, or that was given up. For who ends the process next. */
  async end(): Promise<void> {
    this.close();
    await this.seat?.end();
  }

  private async explained<T>(work: () => Promise<T>): Promise<T> {
    if (this.socket.destroyed) throw unavailable('connection.closed', 'the connection to the enclave has ended');
    try {
      return await work();
    } catch (error) {
      // A connection that is lost fails its calls a moment before it is said to be closed.
      await setImmediate();
      throw callError(error, this.socket.destroyed);
    }
  }
}
