import type { Socket } from 'node:net';
import type { Command } from 'commander';
import { systemClock } from '../../../runtime/clock';
import { cutSocket } from '../../../runtime/rpc/relay';
import { RpcError } from '../../index';
import type { ForwardTarget } from '../../index';
import { addEnclaveOption } from '../chosen-enclave';
import { addWaitOption, connectSaved } from '../connection';
import type { Code } from '../../../errors/codes';
import { isSystemError } from '../exit';
import { LastingConnection, LastingFailure } from '../forward/lasting-connection';
import { listen } from '../forward/listener';
import type { Listener } from '../forward/listener';
import { bracketed, describeTarget, parseForwarding } from '../forward/places';
import type { Forwarding } from '../forward/places';
import { requireForwarding } from '../forward/unsupported';
import { interruptible } from '../interrupt';
import { addExample, addOutputOptions, addVerboseOption } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';

interface Options extends OutputOptions {
  verbose?: boolean;
  wait?: number;
}

/** Nothing more begins on that connection. */
const SEATLESS = new Set<Code>(['seat.lapsed', 'seat.required', 'session.closed']);

/** `sls forward`: ports of this machine that lead to ports of the enclave, until it is interrupted. */
export function addForward(program: Command): void {
  const command = program
    .command('forward')
    .description('make ports of your enclave reachable on this machine, until interrupted')
    .argument(
      '<port...>',
      '[ADDRESS:]PORT[:PORT]: port here, and in the enclave; or as ssh -L has it, unix sockets too',
    );
  addEnclaveOption(addWaitOption(addVerboseOption(addOutputOptions(command)))).action(run);
  addExample(command, 'sls forward 8888', 'sls forward 9000:80 ./postgres.sock:5432');
}

async function run(texts: string[], options: Options): Promise<void> {
  const out = new Output(options);
  const forwardings = texts.map(parseForwarding);
  await interruptible(async (signal) => {
    const lasting = await LastingConnection.open({
      async open(given) {
        const connection = await connectSaved(out, { ...options, signal: given });
        await requireForwarding(connection).catch(async (error: unknown) => {
          await connection.end();
          throw error;
        });
        return connection;
      },
      onLost: ({ message }) => out.note(`${message}: the next connection to a port connects and verifies again`),
      onDelay: ({ message }) => out.note(`no connection to the enclave yet: ${message}`),
      signal,
      clock: systemClock,
    });
    // Nothing listens before the enclave is verified.
    const forwarder = new Forwarder(lasting, out, signal);
    try {
      await forwarder.open(forwardings);
      await forwarder.failed;
    } finally {
      forwarder.close();
      await lasting.end();
    }
  });
}

/** The open ports, and the connections to them. */
class Forwarder {
  private readonly listeners: Listener[] = [];
  private readonly sockets = new Set<Socket>();
  private fail: (error: unknown) => void = () => undefined;
  /** Rejects when nothing more can be forwarded, or with the end of the command. */
  readonly failed = new Promise<never>((_, reject) => (this.fail = reject));

  constructor(
    private readonly lasting: LastingConnection,
    private readonly out: Output,
    signal: AbortSignal,
  ) {
    this.failed.catch(() => undefined);
    const abort = (): void => this.fail(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  }

  async open(forwardings: Forwarding[]): Promise<void> {
    const opened = [];
    for (const { listen: place, target } of forwardings) {
      const listener = await listen(place, (socket) => void this.serve(socket, target));
      this.listeners.push(listener);
      opened.push({ listen: listener.listening, to: target });
      const [first] = listener.listening;
      if (!('socket' in place) && place.port !== 0 && first && 'port' in first && first.port !== place.port)
        this.out.note(`port ${place.port} is taken on this machine: port ${first.port} leads to it`);
      if (!('socket' in place) && ['0.0.0.0', '::'].includes(String(place.addresses[0])))
        this.out.warning('whoever reaches this machine by the network reaches the port of the enclave');
    }
    this.out.result(
      { forwards: opened },
      opened.map(
        ({ listen: places, to }) =>
          `${places.map((at) => ('socket' in at ? at.socket : `${bracketed(at.address)}:${at.port}`)).join(', ')} -> ${describeTarget(to)}`,
      ),
    );
  }

  close(): void {
    for (const listener of this.listeners) listener.close();
    for (const socket of this.sockets) cutSocket(socket);
  }

  private async serve(socket: Socket, target: ForwardTarget): Promise<void> {
    this.sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => this.sockets.delete(socket));
    try {
      await this.lasting.use(async (connection) => {
        try {
          await connection.forward(target, { input: socket, output: socket });
        } catch (error) {
          // What runs by the old seat has its grace; whoever comes next gets a connection with another seat, or hears why there is none.
          if (error instanceof RpcError && SEATLESS.has(error.code)) this.lasting.retire(connection);
          throw error;
        }
      });
    } catch (error) {
      cutSocket(socket);
      if (error instanceof LastingFailure) this.fail(error.cause);
      else this.tell(error, target);
    }
  }

  private tell(error: unknown, target: ForwardTarget): void {
    // Whoever connected here has gone, or the program there; that the session has ended is said once.
    if (
      isSystemError(error) ||
      (error instanceof RpcError && /^(forward\.reset|connection\.|rpc\.cancelled)/.test(error.code))
    )
      return;
    this.out.note(`a connection to ${describeTarget(target)} was cut: ${(error as Error).message}`);
  }
}
