import { Backoff } from '../../../runtime/backoff';
import type { Clock } from '../../../runtime/clock';
import type { EnclaveConnection } from '../../index';
import { EXIT } from '../exit';
import { toCliError } from '../failure';

/** What another try can't mend in a moment, although it may be mended some day: whoever wants to wait for a seat says so. */
const NOT_WAITED_FOR = /^(seat\.none_free|licence\.|login\.|enclave\.(limit|installation_full))/;

/** There is no connection, and there won't be one. */
export class LastingFailure {
  constructor(readonly cause: unknown) {}
}

interface LastingOptions {
  /** Verifies and connects. */
  open(signal: AbortSignal): Promise<EnclaveConnection>;
  /** The connection has ended by itself. */
  onLost(reason: Error): void;
  /** Could not connect for now. */
  onDelay(reason: Error): void;
  signal: AbortSignal;
  clock: Clock;
}

/**
 * A verified connection, and after its end another one, which is verified anew: as soon as somebody needs it, not before, so that an enclave that was stopped
 * stays stopped until then.
 */
export class LastingConnection {
  private current: EnclaveConnection | undefined;
  /** How much work goes on with each. */
  private readonly users = new Map<EnclaveConnection, number>();
  private opening: Promise<EnclaveConnection> | undefined;

  private constructor(private readonly options: LastingOptions) {}

  /** @throws what `open` throws */
  static async open(options: LastingOptions): Promise<LastingConnection> {
    const lasting = new LastingConnection(options);
    lasting.keep(await options.open(options.signal));
    return lasting;
  }

  /**
   * Does work on the connection that is there, or on the next one once that is there.
   * @throws LastingFailure where no other try would bring one, and what the work throws
   */
  async use(work: (connection: EnclaveConnection) => Promise<void>): Promise<void> {
    const connection = await this.get().catch((cause: unknown) => {
      throw new LastingFailure(cause);
    });
    this.users.set(connection, (this.users.get(connection) ?? 0) + 1);
    try {
      await work(connection);
    } finally {
      const left = (this.users.get(connection) ?? 1) - 1;
      if (left > 0) this.users.set(connection, left);
      else this.users.delete(connection);
      if (left === 0 && this.current !== connection) await connection.end();
    }
  }

  /** Another one from now on: nothing new begins on this one, and what runs on it goes on. */
  retire(connection: EnclaveConnection): void {
    if (this.current === connection) this.current = undefined;
  }

  /** Gives the seats back. */
  async end(): Promise<void> {
    await Promise.all([this.current, ...this.users.keys()].map((connection) => connection?.end()));
  }

  private get(): Promise<EnclaveConnection> {
    if (this.current) return Promise.resolve(this.current);
    this.opening ??= this.reopen().finally(() => (this.opening = undefined));
    return this.opening;
  }

  private keep(connection: EnclaveConnection): void {
    this.current = connection;
    void connection.closed.then((reason) => {
      if (this.current !== connection) return;
      this.current = undefined;
      if (reason && !this.options.signal.aborted) this.options.onLost(reason);
    });
  }

  private async reopen(): Promise<EnclaveConnection> {
    const { open, onDelay, signal, clock } = this.options;
    const backoff = new Backoff({ firstMs: 500, mostMs: 10_000, clock });
    for (;;) {
      try {
        const connection = await open(signal);
        this.keep(connection);
        return connection;
      } catch (error) {
        const { exitCode, details } = toCliError(error);
        if (signal.aborted || exitCode !== EXIT.unavailable || NOT_WAITED_FOR.test(String(details.code))) throw error;
        onDelay(error as Error);
        await backoff.wait(signal);
      }
    }
  }
}
