import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { built } from '../support/built';

const root = resolve(__dirname, '../..');
const transcript = join(root, 'docs/demo-transcript.txt');

/** What differs from run to run, replaced by what it is. */
const VARIABLE: Array<[RegExp, string]> = [
  // Only where the demo runs as root.
  [/^sls: commands in an enclave can read its memory here: .*\n/gm, ''],
  [/\/\S*sls-demo-\w+/g, 'DEMO_FOLDER'],
  [/\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, 'UUID'],
  [/\b[0-9a-f]{32,}\b/g, 'HEX'],
  [/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, 'TIME'],
  [/(127\.0\.0\.1|localhost):\d+/g, 'ADDRESS'],
  [/\b\d+(\.\d+)? (ms|s|seconds|minutes)\b/g, 'DURATION'],
  [/"pid": \d+/g, '"pid": PID'],
];

function normalize(text: string): string {
  return VARIABLE.reduce((result, [pattern, name]) => result.replace(pattern, name), text);
}

test('the demo succeeds, and docs/demo-transcript.txt is what it prints (UPDATE_TRANSCRIPT=1 writes it anew)', async () => {
  built('sls');
  // One pipe for both outputs keeps their order.
  const demo = spawn('/bin/sh', ['-c', 'exec node scripts/demo.mjs 2>&1'], {
    cwd: root,
    env: { ...process.env, NO_COLOR: '1' },
  });
  let printed = '';
  demo.stdout.setEncoding('utf8').on('data', (text: string) => (printed += text));
  const code = await new Promise((done) => demo.on('close', done));
  if (code !== 0) throw new Error(`the demo ended with ${String(code)}:\n${printed}`);
  if (process.env['UPDATE_TRANSCRIPT'] === '1') writeFileSync(transcript, printed.trimStart());
  expect(normalize(printed).trim()).toBe(normalize(readFileSync(transcript, 'utf8')).trim());
});
