import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { MAX_RESPONSE_BYTES, RESPONSE_HEADER_BYTES, responseSize } from '../../attestation/tpm/response';
import type { SocketAddress, TpmAddress } from './address';
import type { TpmConnection } from './connection';
import { TpmCommandError } from './errors';

/** CMD_SET_LOCALITY of swtpm's control channel (swtpm_ioctls(3)), to locality 0: another program may have left it at another. */
const SET_LOCALITY_0 = Buffer.from([0, 0, 0, 5, 0]);
const CONTROL_RESPONSE_BYTES = 4;
/** TPM_SEND_COMMAND, TPM_SESSION_END of the TCG's simulator (TpmTcpProtocol.h). */
const SEND_COMMAND = 8;
const SESSION_END = Buffer.from([0, 0, 0, 20]);

/**
 * swtpm serves one connection at a time: while this one is open no other program gets in, and whoever asks then waits. Commands and responses go as they are.
 */
export async function connectSwtpm({ data, control }: TpmAddress & { kind: 'swtpm' }): Promise<TpmConnection> {
  const stream = await Stream.connect(data);
  try {
    await setLocality(control);
  } catch (error) {
    stream.close();
    throw error;
  }
  return {
    async transmit(command) {
      stream.write(command);
      return readResponse(stream);
    },
    close: () => Promise.resolve(stream.close()),
  };
}

/** The TCG's simulator: each command with what to do, a locality and its size before it, each response with its size before and a zero behind it. */
export async function connectMssim({ data }: TpmAddress & { kind: 'mssim' }): Promise<TpmConnection> {
  const stream = await Stream.connect(data);
  return {
    async transmit(command) {
      const frame = Buffer.alloc(9);
      frame.writeUInt32BE(SEND_COMMAND, 0);
      frame.writeUInt32BE(command.length, 5);
      stream.write(Buffer.concat([frame, command]));
      const size = (await stream.read(4)).readUInt32BE();
      if (size < RESPONSE_HEADER_BYTES || size > MAX_RESPONSE_BYTES) throw malformed(`a response of ${size} bytes`);
      const response = await stream.read(size);
      const end = (await stream.read(4)).readUInt32BE();
      if (end !== 0) throw malformed(`${end} behind a response`);
      return response;
    },
    close() {
      stream.close(SESSION_END);
      return Promise.resolve();
    },
  };
}

async function setLocality(control: SocketAddress): Promise<void> {
  const stream = await Stream.connect(control);
  try {
    stream.write(SET_LOCALITY_0);
    const result = (await stream.read(CONTROL_RESPONSE_BYTES)).readUInt32BE();
    if (result !== 0)
      throw new TpmCommandError('tpm.failed', `expected swtpm's control channel to set locality 0, got ${result}`);
  } finally {
    stream.close();
  }
}

async function readResponse(stream: Stream): Promise<Buffer> {
  const header = await stream.read(RESPONSE_HEADER_BYTES);
  return Buffer.concat([header, await stream.read(responseSize(header) - header.length)]);
}

function malformed(got: string): TpmCommandError {
  return new TpmCommandError('tpm.failed', `expected a TPM simulator at the address, got ${got}`);
}

/** A socket that is read by sizes that are known before. What comes beyond them is an error, and not kept. */
class Stream {
  private received = Buffer.alloc(0);
  private failure: Error | undefined;
  private tell: () => void = () => undefined;

  private constructor(private readonly socket: Socket) {
    socket.on('data', (piece) => {
      if (this.received.length + piece.length > MAX_RESPONSE_BYTES + 8) this.fail(malformed('more than a response'));
      else this.received = Buffer.concat([this.received, piece]);
      this.tell();
    });
    socket.on('error', (error) => this.fail(error));
    socket.on('close', () => this.fail(Object.assign(new Error('the TPM closed its socket'), { code: 'ECONNRESET' })));
  }

  static connect(address: SocketAddress): Promise<Stream> {
    return new Promise((resolve, reject) => {
      const socket = connect(address, () => {
        socket.off('error', reject);
        resolve(new Stream(socket));
      });
      socket.on('error', reject);
      socket.setNoDelay(true);
    });
  }

  write(bytes: Buffer): void {
    this.socket.write(bytes);
  }

  async read(size: number): Promise<Buffer> {
    while (this.received.length < size) {
      if (this.failure !== undefined) throw this.failure;
      await new Promise<void>((resolve) => (this.tell = resolve));
    }
    const bytes = this.received.subarray(0, size);
    this.received = this.received.subarray(size);
    return bytes;
  }

  /** @param word of goodbye, where the protocol has one */
  close(word?: Buffer): void {
    if (word === undefined) this.socket.destroy();
    else this.socket.end(word, () => this.socket.destroy());
    this.fail(new Error('closed'));
  }

  private fail(error: Error): void {
    this.failure ??= error;
    this.socket.destroy();
    this.tell();
  }
}
