import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { decodeUtf8, readText, streamText } from '../../../runtime/text/utf8';

const folder = mkdtempSync(join(tmpdir(), 'sls-text-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const pieces = (...bytes: number[][]): Readable => Readable.from(bytes.map((some) => Buffer.from(some)));

test.each([
  ['a byte of ISO 8859-1', [0x70, 0xe4, 0x73]],
  ['a letter that breaks off', [0xc3]],
  ['a surrogate', [0xed, 0xa0, 0x80]],
  ['a longer form than needed', [0xc0, 0xaf]],
  ['beyond Unicode', [0xf4, 0x90, 0x80, 0x80]],
])('%s is no text: never U+FFFD in its place', (_, bytes) => {
  expect(() => decodeUtf8(Buffer.from(bytes), 'it')).toThrowWithCode('text.not_utf8');
});

test('U+FFFD itself and a byte order mark are text', () => {
  expect(decodeUtf8(Buffer.from('\ufeffa\ufffd'), 'it')).toBe('\ufeffa\ufffd');
});

test('a letter that comes in two pieces is one letter', async () => {
  expect(await streamText(pieces([0x70, 0xc3], [0xa4, 0x73]), 'it')).toBe('päs');
  await expect(streamText(pieces([0x70, 0xc3]), 'it')).toRejectWithCode('text.not_utf8');
});

test('a refusal names the file, and nothing that is in it', async () => {
  const file = join(folder, 'secret');
  writeFileSync(file, Buffer.from([0x68, 0x75, 0x6e, 0x74, 0xff]));
  await expect(readText(file)).rejects.toThrow(`expected ${file} to be UTF-8 text, got other bytes`);
});
