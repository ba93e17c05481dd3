import { ByteReader, BytesError } from './reader';

/** ASN.1 tags (X.680) that this project meets, as DER writes them. */
export const DER = {
  BOOLEAN: 0x01,
  INTEGER: 0x02,
  BIT_STRING: 0x03,
  OCTET_STRING: 0x04,
  OID: 0x06,
  UTF8_STRING: 0x0c,
  UTC_TIME: 0x17,
  GENERALIZED_TIME: 0x18,
  SEQUENCE: 0x30,
} as const;

interface DerElement {
  tag: number;
  content: Buffer;
}

/** Reads DER (X.690, 10): definite lengths in their shortest form, tags of one byte. Throws BytesError and nothing else. */
export class DerReader {
  private readonly reader: ByteReader;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly what: string,
  ) {
    this.reader = new ByteReader(bytes, what);
  }

  get done(): boolean {
    return this.reader.remaining === 0;
  }

  next(): DerElement {
    const tag = this.reader.u8();
    if ((tag & 0x1f) === 0x1f) throw this.malformed('a tag of one byte', 'a longer one');
    return { tag, content: this.reader.take(this.length()) };
  }

  /** The next element, which has to have this tag. */
  expect(tag: number): Buffer {
    const element = this.next();
    if (element.tag !== tag) throw this.malformed(`tag 0x${tag.toString(16)}`, `0x${element.tag.toString(16)}`);
    return element.content;
  }

  /** The next element if it has this tag; otherwise nothing is read. */
  optional(tag: number): Buffer | undefined {
    return this.reader.peek() === tag ? this.next().content : undefined;
  }

  /** The next element with its tag and length, as it stands. */
  whole(tag: number): Buffer {
    const start = this.bytes.length - this.reader.remaining;
    this.expect(tag);
    const end = this.bytes.length - this.reader.remaining;
    return Buffer.from(this.bytes.buffer, this.bytes.byteOffset + start, end - start);
  }

  /** Everything that is left, unread. */
  rest(): Buffer {
    return this.reader.take(this.reader.remaining);
  }

  inside(tag: number): DerReader {
    return new DerReader(this.expect(tag), this.what);
  }

  /** Every element up to the end, each of which has to have this tag. */
  *all(tag: number): Generator<Buffer> {
    while (!this.done) yield this.expect(tag);
  }

  /** BOOLEAN with the default FALSE, which DER leaves out. @param explicitFalse takes one that says FALSE as well: BER (X.690, 11.5) */
  flag({ explicitFalse = false } = {}): boolean {
    const content = this.optional(DER.BOOLEAN);
    if (content === undefined || (explicitFalse && content.length === 1 && content[0] === 0)) return false;
    if (content.length !== 1 || content[0] !== 0xff)
      throw this.malformed('TRUE or nothing', content.toString('hex').slice(0, 16));
    return true;
  }

  end(): void {
    this.reader.end();
  }

  private length(): number {
    const first = this.reader.u8();
    if (first < 0x80) return first;
    const bytes = first & 0x7f;
    if (bytes === 0 || bytes > 3) throw this.malformed('a length of 1 to 3 bytes', String(bytes));
    let length = 0;
    for (const byte of this.reader.take(bytes)) length = length * 256 + byte;
    if (length < 0x80 || length < 2 ** (8 * (bytes - 1)))
      throw this.malformed('the shortest form of a length', 'a longer one');
    return length;
  }

  private malformed(expected: string, got: string): BytesError {
    return new BytesError('bytes.malformed', `${this.what}: expected ${expected}, got ${got}`);
  }
}

/** One element of DER: its tag, its length in the shortest form (X.690, 10.1), then the parts. Up to 65,535 bytes. */
export function encodeDer(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), ...parts]);
}

/** Longer than any in use. The work of decoding grows with the square of the length, which a certificate's sender chooses. */
const MAX_OID_BYTES = 64;

/** An OBJECT IDENTIFIER's content as dotted text (X.690, 8.19). @throws BytesError */
export function decodeOid(content: Uint8Array): string {
  if (content.length === 0 || content.length > MAX_OID_BYTES) {
    throw new BytesError(
      'bytes.malformed',
      `object identifier: expected 1 to ${MAX_OID_BYTES} bytes, got ${content.length}`,
    );
  }
  const parts: bigint[] = [];
  let part = 0n;
  for (const byte of content) {
    part = (part << 7n) | BigInt(byte & 0x7f);
    if (byte & 0x80) continue;
    parts.push(part);
    part = 0n;
  }
  const first = parts.shift() ?? 0n;
  const root = first < 80n ? first / 40n : 2n;
  return [root, first - root * 40n, ...parts].join('.');
}
