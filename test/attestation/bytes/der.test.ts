import fc from 'fast-check';
import { DER, decodeOid, DerReader, encodeDer } from '../../../attestation/bytes/der';
import { BytesError } from '../../../attestation/bytes/reader';

const reader = (hex: string): DerReader => new DerReader(Buffer.from(hex, 'hex'), 'sample');
const malformed = expect.objectContaining({ code: 'bytes.malformed' });

test('reads nested elements', () => {
  const outer = reader('30060101ff020105');
  const inner = outer.inside(DER.SEQUENCE);
  outer.end();
  expect(inner.flag()).toBe(true);
  expect(inner.optional(DER.OCTET_STRING)).toBeUndefined();
  expect(inner.expect(DER.INTEGER).toString('hex')).toBe('05');
  inner.end();
});

test.each([
  ['indefinite length', '3080'],
  ['length of four bytes', '308401000000'],
  ['length in a longer form than needed, one byte', '04810100'],
  ['length in a longer form than needed, two bytes', '04820080' + '00'.repeat(128)],
  ['tag of several bytes', '1f0100'],
])('refuses what is BER and not DER: %s', (_, hex) => {
  expect(() => reader(hex).next()).toThrow(malformed);
});

test('refuses a FALSE that DER leaves out, and a TRUE that is not ff', () => {
  expect(() => reader('010100').flag()).toThrow(malformed);
  expect(() => reader('010101').flag()).toThrow(malformed);
  expect(() => reader('0102ff00').flag()).toThrow(malformed);
});

test('takes a FALSE of BER where it is told to, of one byte', () => {
  expect(reader('010100').flag({ explicitFalse: true })).toBe(false);
  expect(() => reader('01020000').flag({ explicitFalse: true })).toThrow(malformed);
  expect(() => reader('010101').flag({ explicitFalse: true })).toThrow(malformed);
});

test('an optional element is undefined at the end', () => {
  expect(reader('').optional(DER.INTEGER)).toBeUndefined();
});

test.each([0, 127, 128, 255, 256, 65_535])('writes %i bytes as it reads them', (size) => {
  const written = new DerReader(encodeDer(DER.OCTET_STRING, Buffer.alloc(size)), 'sample');
  expect(written.expect(DER.OCTET_STRING)).toHaveLength(size);
  written.end();
});

test('takes lengths of 1, 2 and 3 bytes', () => {
  for (const [head, size] of [
    ['047f', 127],
    ['048180', 128],
    ['04820100', 256],
    ['0483010000', 65536],
  ] as const) {
    expect(reader(head + '00'.repeat(size)).expect(DER.OCTET_STRING).length).toBe(size);
  }
});

test.each([
  ['2.5.29.19', '551d13'],
  ['2.23.133.8.3', '6781050803'],
  ['1.2.840.10045.4.3.2', '2a8648ce3d040302'],
  ['2.999', '8837'],
  ['1.39', '4f'],
  ['2.0', '50'],
  [`1.2${'.1'.repeat(63)}`, `2a${'01'.repeat(63)}`],
])('decodes object identifier %s', (oid, hex) => {
  expect(decodeOid(Buffer.from(hex, 'hex'))).toBe(oid);
});

test('an object identifier of no bytes, or longer than any in use, is refused before it is decoded', () => {
  expect(() => decodeOid(Buffer.alloc(0))).toThrow(malformed);
  expect(() => decodeOid(Buffer.alloc(65, 0x81))).toThrow(malformed);
});

test('arbitrary bytes give elements or a BytesError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        const der = new DerReader(bytes, 'sample');
        while (!der.done) der.next();
      } catch (error) {
        expect(error).toBeInstanceOf(BytesError);
      }
    }),
    { numRuns: 2000 },
  );
});
