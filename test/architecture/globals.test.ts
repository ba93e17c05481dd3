import { globalsOf } from './globals';
import { importsOf, inside, sources } from './sources';

const ROOMS = ['attestation', 'client', 'licensing', 'runtime'];

test('no module reads the environment, makes a log or keeps something of its callers when it is imported', () => {
  expect(ROOMS.flatMap(sources).flatMap((file) => globalsOf(file))).toEqual([]);
});

test("the client library has no log: it is its caller's to give", () => {
  const wrong = sources('client')
    .filter((file) => !inside(file, 'client/cli'))
    .flatMap(importsOf)
    .filter(({ target, relative }) => (relative ? inside(target, 'runtime/log/json') : target === 'pino'))
    .map(({ file, target }) => `${file} -> ${target}`);
  expect(wrong).toEqual([]);
});

test.each([
  ["const level = process.env['LOG_LEVEL'];", 'a.ts:1 reads the environment'],
  ["export const logger = createLogger({ program: 'x', level: 'info' });", 'a.ts:1 makes a log'],
  ['class A {\n  static log = pino();\n}', 'a.ts:2 makes a log'],
  ['const users = new WeakMap<Metadata, string>();', 'a.ts:1 keeps something of its callers'],
  ['if (process.env.CI) start();', 'a.ts:1 reads the environment'],
])('%s is noticed', (text, found) => {
  expect(globalsOf('a.ts', text)).toEqual([found]);
});

test.each([
  'export function read(env = process.env): void {}',
  "export const open = () => createLogger({ program: 'x', level: 'info' });",
  'class A {\n  log = pino();\n  seen = new WeakMap();\n}',
])('%s is none', (text) => {
  expect(globalsOf('a.ts', text)).toEqual([]);
});
