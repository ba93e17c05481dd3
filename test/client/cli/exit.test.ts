import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { EXIT } from '../../../client/cli/exit';

const wanted = Object.values(EXIT);
const text = (path: string): string => readFileSync(join(__dirname, '../../..', path), 'utf8');

test('docs/using.md lists the exit codes', () => {
  const [, section = ''] = text('docs/using.md').split('\n## Exit codes\n');
  const rows = [...(section.split('\n## ')[0] ?? '').matchAll(/^\| (\d+) +\| +(\S.*?) +\|$/gm)];
  expect(rows.map(([, code]) => Number(code))).toEqual(wanted);
});

test('and so does the help', () => {
  const [, line = ''] = /Exit codes: ([^;]*);/.exec(text('client/cli/main.ts')) ?? [];
  expect(line.split(', ').map((part) => Number(part.split(' ')[0]))).toEqual(wanted);
});
