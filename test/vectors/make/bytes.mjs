/** Writers of the encodings that are signed: none of the product's code, so that a change there is seen by what was written here. */
export const concat = (...parts) =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part)));

/** Big-endian, so many bytes. */
export function uint(value, bytes) {
  const out = Buffer.alloc(bytes);
  let rest = BigInt(value);
  for (let at = bytes - 1; at >= 0; at--, rest >>= 8n) out[at] = Number(rest & 0xffn);
  return out;
}

// DER (X.690)
const tlv = (tag, ...parts) => {
  const value = concat(...parts);
  if (value.length < 0x80) return concat(Buffer.from([tag, value.length]), value);
  const length = Buffer.from(value.length.toString(16).padStart(value.length > 0xff ? 4 : 2, '0'), 'hex');
  return concat(Buffer.from([tag, 0x80 | length.length]), length, value);
};
export const der = {
  sequence: (...parts) => tlv(0x30, ...parts),
  set: (...parts) => tlv(0x31, ...parts),
  integer: (bytes) => tlv(0x02, bytes),
  boolean: (value) => tlv(0x01, Buffer.from([value ? 0xff : 0])),
  octets: (...parts) => tlv(0x04, ...parts),
  bits: (bytes, unused = 0) => tlv(0x03, Buffer.from([unused]), bytes),
  utf8: (text) => tlv(0x0c, Buffer.from(text, 'utf8')),
  time: (unix) =>
    tlv(
      0x17,
      `${new Date(unix * 1000)
        .toISOString()
        .replace(/[-:T]|\.\d+/g, '')
        .slice(2)}`,
    ),
  context: (number, ...parts) => tlv(0xa0 | number, ...parts),
  /** A context tag on a string, as in GeneralName. */
  name: (number, text) => tlv(0x80 | number, text),
  oid(text) {
    const [first, second, ...rest] = text.split('.').map(Number);
    const base128 = (value) => {
      const digits = [value & 0x7f];
      for (let more = Math.floor(value / 128); more > 0; more = Math.floor(more / 128))
        digits.unshift((more & 0x7f) | 0x80);
      return digits;
    };
    return tlv(0x06, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]));
  },
};

// Protocol Buffers (protobuf.dev, "Encoding")
function varint(value) {
  const out = [];
  for (let rest = BigInt(value); ; rest >>= 7n) {
    if (rest < 0x80n) return Buffer.from([...out, Number(rest)]);
    out.push(Number(rest & 0x7fn) | 0x80);
  }
}
/** Fields as [number, value] in this order: a number is a varint, all else is length-delimited. Nothing is left out. */
export const protobuf = (...fields) =>
  concat(
    ...fields.flatMap(([number, value]) =>
      typeof value === 'number' || typeof value === 'bigint'
        ? [varint(number << 3), varint(value)]
        : [varint((number << 3) | 2), varint(Buffer.from(value).length), Buffer.from(value)],
    ),
  );
