import { LittleEndianReader } from '../../../attestation/bytes/little-endian';
import { ByteReader, BytesError } from '../../../attestation/bytes/reader';

const reader = (hex: string): ByteReader => new ByteReader(Buffer.from(hex, 'hex'), 'sample');

test('reads big-endian numbers and sized byte strings', () => {
  const bytes = reader('01' + '0203' + '04050607' + '08090a0b0c0d0e0f' + '0002abcd');
  expect(bytes.u8()).toBe(1);
  expect(bytes.u16()).toBe(0x0203);
  expect(bytes.u32()).toBe(0x04050607);
  expect(bytes.u64()).toBe(0x08090a0b0c0d0e0fn);
  expect(bytes.sized().toString('hex')).toBe('abcd');
  expect(() => bytes.end()).not.toThrow();
});

test('a length past the end is an error and no allocation', () => {
  expect(() => reader('ffff00').sized()).toThrowWithCode('bytes.truncated');
  expect(() => reader('00').u32()).toThrow(BytesError);
});

test('bytes left over are an error', () => {
  const bytes = reader('0102');
  bytes.u8();
  expect(() => bytes.end()).toThrow(
    expect.objectContaining({
      code: 'bytes.trailing',
      message: 'sample: expected its end at offset 1, got 1 more bytes',
    }),
  );
});

test('a view into a larger buffer reads its own part only', () => {
  const whole = Buffer.from('00112233', 'hex');
  const part = new ByteReader(whole.subarray(1, 3), 'part');
  expect(part.u16()).toBe(0x1122);
  expect(() => part.u8()).toThrowWithCode('bytes.truncated');
});

test('the little-endian reader differs in the order of bytes alone', () => {
  const bytes = new LittleEndianReader(
    Buffer.from('01' + '0302' + '07060504' + '0f0e0d0c0b0a0908' + 'ff', 'hex'),
    'sample',
  );
  expect([bytes.u8(), bytes.u16(), bytes.u32(), bytes.u64()]).toEqual([1, 0x0203, 0x04050607, 0x08090a0b0c0d0e0fn]);
  expect(() => bytes.u16()).toThrowWithCode('bytes.truncated');
});
