/** Frames of the PostgreSQL wire protocol, version 3 (PostgreSQL documentation, "Frontend/Backend Protocol", Message Formats). */

import { readableText } from '../../runtime/text/utf8';

/** A message of the client's. `type` is empty for the untyped first ones: startup, SSL request, cancel request. */
interface FrontendMessage {
  type: string;
  bytes: Buffer;
}

/** No statement of ours comes near this. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

const PROTOCOL_3 = 3 << 16;
const CANCEL_REQUEST = 80877102;
const SSL_REQUEST = 80877103;
const GSSENC_REQUEST = 80877104;

type FirstMessage = 'startup' | 'encryption' | 'cancel' | 'unknown';

/** What an untyped first message asks for. */
export function classifyFirst(message: Buffer): FirstMessage {
  const code = message.length >= 8 ? message.readInt32BE(4) : 0;
  if (code === SSL_REQUEST || code === GSSENC_REQUEST) return 'encryption';
  if (code === CANCEL_REQUEST) return 'cancel';
  return code >>> 16 === PROTOCOL_3 >>> 16 ? 'startup' : 'unknown';
}

/** Cuts a stream of bytes into messages. */
export class MessageSplitter {
  private pending: Buffer = Buffer.alloc(0);

  /** False until the startup message has been seen: what comes before it has no type byte. */
  typed = false;

  push(chunk: Buffer): void {
    this.pending = this.pending.length === 0 ? chunk : Buffer.concat([this.pending, chunk]);
  }

  /** The next whole message; undefined when more bytes are needed. @throws RangeError for an impossible length */
  next(): FrontendMessage | undefined {
    const head = this.typed ? 1 : 0;
    if (this.pending.length < head + 4) return undefined;
    const length = this.pending.readInt32BE(head);
    if (length < 4 || length > MAX_MESSAGE_BYTES)
      throw new RangeError(`expected a message of 4 to ${MAX_MESSAGE_BYTES} bytes, got ${length}`);
    if (this.pending.length < head + length) return undefined;
    const bytes = this.pending.subarray(0, head + length);
    this.pending = this.pending.subarray(head + length);
    return { type: this.typed ? String.fromCharCode(bytes[0]!) : '', bytes };
  }
}

/** SYNC: ends an extended query, and the state in which a failed one skips messages. */
export const SYNC = Buffer.from([0x53, 0, 0, 0, 4]);
/** A simple query that ends whatever transaction there is; without one it is a warning. */
export const ROLLBACK = Buffer.from('Q\0\0\0\rROLLBACK\0', 'latin1');

/**
 * The state that the server's answer ends in: 'I' idle, 'T' in a transaction, 'E' in a failed one; undefined where
 * ReadyForQuery is still to come.
 */
export function transactionState(answer: Uint8Array): 'I' | 'T' | 'E' | undefined {
  if (answer.length < 6) return undefined;
  const [type, a, b, c, length, state] = answer.subarray(answer.length - 6);
  if (type !== 0x5a || a !== 0 || b !== 0 || c !== 0 || length !== 5) return undefined;
  const letter = String.fromCharCode(state!);
  return letter === 'I' || letter === 'T' || letter === 'E' ? letter : undefined;
}

const ERROR_RESPONSE = 'E'.charCodeAt(0);
const [SEVERITY, MESSAGE] = ['V', 'M'];

/** What the server's answer says of its own end (an ErrorResponse of severity PANIC); undefined where it goes on. */
export function panicOf(answer: Uint8Array): string | undefined {
  const bytes = Buffer.from(answer.buffer, answer.byteOffset, answer.byteLength);
  for (let at = 0; at + 5 <= bytes.length; at += 1 + bytes.readInt32BE(at + 1)) {
    const length = bytes.readInt32BE(at + 1);
    if (length < 4) return undefined;
    if (bytes[at] !== ERROR_RESPONSE) continue;
    const fields = new Map(
      readableText(bytes.subarray(at + 5, at + 1 + length))
        .split('\0')
        .map((field) => [field.slice(0, 1), field.slice(1)]),
    );
    if (fields.get(SEVERITY) === 'PANIC') return fields.get(MESSAGE) ?? '';
  }
  return undefined;
}

/** ErrorResponse of a server that can't be connected to for now (SQLSTATE 57P03). */
export function cannotConnectNow(message: string): Buffer {
  const text = [`SFATAL`, `VFATAL`, `C57P03`, `M${message}`, ''].map((field) => `${field}\0`).join('');
  const bytes = Buffer.from(text, 'utf8');
  const head = Buffer.alloc(5);
  head[0] = ERROR_RESPONSE;
  head.writeInt32BE(bytes.length + 4, 1);
  return Buffer.concat([head, bytes]);
}
