import { Readable } from 'node:stream';

type NextLine = () => Promise<string | undefined>;

/** What a program reads whose standard input comes in these pieces. */
async function reading(...pieces: Array<string | number[]>): Promise<NextLine> {
  const stdin = Readable.from(pieces.map((piece) => Buffer.from(piece as string)));
  jest.spyOn(process, 'stdin', 'get').mockReturnValue(stdin as unknown as typeof process.stdin);
  jest.resetModules();
  return (await import('../../../client/cli/stdin-lines')).nextLine;
}
afterEach(() => jest.restoreAllMocks());

test('a letter that comes in two pieces is one letter', async () => {
  const nextLine = await reading('p', [0xc3], [0xa4], 's\nsecond', ' line\r\n');
  expect([await nextLine(), await nextLine(), await nextLine()]).toEqual(['päs', 'second line', undefined]);
});

test('a line that is no UTF-8 is refused, without what it holds; the one before it is not', async () => {
  const nextLine = await reading('good\nbad', [0xe4], '\n');
  expect(await nextLine()).toBe('good');
  await expect(nextLine()).rejects.toMatchObject({ exitCode: 2, details: { code: 'text.not_utf8' } });
});

test('a letter that breaks off at the end is refused', async () => {
  const nextLine = await reading('bad', [0xc3]);
  await expect(nextLine()).rejects.toMatchObject({ exitCode: 2 });
});

test('an empty line is one, the end is none', async () => {
  const nextLine = await reading('\n');
  expect([await nextLine(), await nextLine()]).toEqual(['', undefined]);
});
