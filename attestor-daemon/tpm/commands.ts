import { flushContext, listHandles } from '../../attestation/tpm/command';
import type { TpmCommand } from '../../attestation/tpm/command';
import { TpmError } from '../../attestation/tpm/errors';
import { parseHandlesResponse, responseCode } from '../../attestation/tpm/response';
import { isOutOfSlots, isWorthAnotherTry, responseCodeName } from '../../attestation/tpm/response-code';
import { Backoff } from '../../runtime/backoff';
import type { Clock } from '../../runtime/clock';
import type { OpenTpm, TpmConnection } from './connection';
import { TpmCommandError } from './errors';
import { LOCKOUT, lockedOut } from './explain';

/** Signing takes under a second on the slowest TPMs. Tries of one command share this time. */
const COMMAND_MS = 10_000;
/** Between tries: a self-test of the TPM takes up to a second. */
const RETRY = { firstMs: 10, mostMs: 500 };

/** Opens the TPM for commands that belong together, and lets others in again, whatever happens. @throws TpmCommandError */
export async function onTpm<T>(open: OpenTpm, clock: Clock, work: (tpm: TpmCommands) => Promise<T>): Promise<T> {
  const opening = open();
  const connection = await within(clock, COMMAND_MS, 'the TPM to be opened', opening).catch((error: unknown) => {
    void opening.then(
      (late) => late.close(),
      () => undefined,
    );
    throw error;
  });
  try {
    return await work(new TpmCommands(connection, clock));
  } finally {
    await connection.close();
  }
}

/** Commands to a TPM that is open, one after another: who gives the next waits for the one before. */
export class TpmCommands {
  private flushed = false;

  constructor(
    private readonly connection: TpmConnection,
    private readonly clock: Clock,
  ) {}

  /**
   * Sends a command, and again while the TPM says that it would do it later. Where it has no room for another object or session, because whoever used it
   * before left some, what is loaded is flushed: without a resource manager a TPM may have three slots only.
   * @param parse of the response of success
   * @throws TpmCommandError with the TPM's response code, by its name; tpm.timeout, tpm.locked_out
   */
  async run<T>(command: TpmCommand, parse: (response: Buffer) => T): Promise<T> {
    const end = this.clock.monotonic() + COMMAND_MS;
    const backoff = new Backoff(RETRY);
    for (;;) {
      const left = end - this.clock.monotonic();
      const response = await within(this.clock, left, command.name, this.connection.transmit(command.bytes));
      const code = readable(command, () => responseCode(response));
      if (code === 0) return readable(command, () => parse(response));
      if (isOutOfSlots(code) && !this.flushed) {
        this.flushed = true;
        await this.flush();
        continue;
      }
      const wait = backoff.next();
      if (!isWorthAnotherTry(code) || this.clock.monotonic() + wait >= end) throw refused(command, code);
      await this.clock.sleep(wait);
    }
  }

  /** Removes every transient object, and every session, loaded or saved. */
  private async flush(): Promise<void> {
    for (const range of ['transient', 'loadedSession', 'savedSession'] as const)
      for (const handle of await this.run(listHandles(range), parseHandlesResponse))
        await this.run(flushContext(handle), () => undefined).catch((error: unknown) => {
          // Its owner may have been faster.
          if (!(error instanceof TpmCommandError) || error.responseCode === undefined) throw error;
        });
  }
}

function refused({ name }: TpmCommand, code: number): TpmCommandError {
  const error = new TpmCommandError('tpm.failed', `${name}: expected success, got ${responseCodeName(code)}`, code);
  return code === LOCKOUT ? lockedOut({ cause: error }) : error;
}

/** @throws TpmCommandError tpm.failed for a response that isn't one */
function readable<T>({ name }: TpmCommand, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof TpmError)) throw cause;
    throw new TpmCommandError('tpm.failed', `${name}: ${cause.message}`, undefined, { cause });
  }
}

/** @throws TpmCommandError tpm.timeout, and then nobody looks at what becomes of the work */
async function within<T>(clock: Clock, ms: number, what: string, work: Promise<T>): Promise<T> {
  let end = (): void => undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const timer = clock.after(ms, () =>
      reject(new TpmCommandError('tpm.timeout', `expected ${what} to end in ${COMMAND_MS} ms`)),
    );
    end = () => timer.cancel();
  });
  work.catch(() => undefined);
  return Promise.race([work, late]).finally(end);
}
