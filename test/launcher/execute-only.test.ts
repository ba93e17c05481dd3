import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, copyFile, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { executeOnlyNode } from '../../launcher/execute-only';

const run = promisify(execFile);

/** Nobody: root would read everything. */
const USER = 65534;
const AS_USER =
  process.getuid?.() === 0 ? ['setpriv', '--reuid', `${USER}`, '--regid', `${USER}`, '--clear-groups'] : [];

let folder: string;
let program: ChildProcess | undefined;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sls-execute-only-'));
  await chmod(folder, 0o755);
});
afterEach(() => program?.kill('SIGKILL'));
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A program with a secret in its environment, run by `node` as a user; resolves with its process once it runs. */
async function start(node: string): Promise<number> {
  // setpriv's own rights last until the next program begins: so another one stands between.
  const [command = 'sh', ...args] = [
    ...AS_USER,
    'sh',
    '-c',
    `exec ${node} -e 'console.log(process.pid);setInterval(()=>0,1e6)'`,
  ];
  program = spawn(command, args, {
    env: { PATH: process.env['PATH'], SECRET: 'secret' },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [line] = (await once(program.stdout!, 'data')) as [Buffer];
  return Number(String(line));
}

/** What another process of the same user gets of it. */
async function readable(pid: number): Promise<string[]> {
  const names = ['environ', 'maps', 'auxv', 'fd/1'];
  const script = names.map((name) => `head -c 1 /proc/${pid}/${name} >/dev/null 2>&1 </dev/null && echo ${name}`);
  // Memory at its first mapping: address 0 would be refused to anyone.
  script.push(
    `dd if=/proc/${pid}/mem bs=1 count=1 skip=$((0x$(head -n 1 /proc/${pid}/maps | cut -d- -f1))) 2>/dev/null | grep -qc . && echo mem; true`,
  );
  const [command = 'sh', ...args] = [...AS_USER, 'sh', '-c', script.join('\n')];
  return (await run(command, args)).stdout.split('\n').filter((name) => name !== '' && name !== 'fd/1');
}

test("nothing of the same user gets at the program's environment, memory map or memory", async () => {
  const node = await executeOnlyNode(join(folder, 'node'), { uid: USER });
  expect(node).toBe(join(folder, 'node'));
  expect((await stat(node!)).mode & 0o777).toBe(0o111);
  expect(await readable(await start(node!))).toEqual([]);
});

test('what it is kept from: of a program that can be read, all of that is readable', async () => {
  await copyFile(process.execPath, join(folder, 'plain'));
  await chmod(join(folder, 'plain'), 0o755);
  expect(await readable(await start(join(folder, 'plain')))).toEqual(['environ', 'maps', 'auxv', 'mem']);
});

test('root reads everything: no copy is made for it', async () => {
  expect(await executeOnlyNode(join(folder, 'never'), { uid: 0 })).toBeUndefined();
  await expect(stat(join(folder, 'never'))).rejects.toMatchObject({ code: 'ENOENT' });
});

test('a Node that does not run from another place is left', async () => {
  expect(await executeOnlyNode(join(folder, 'broken'), { node: __filename, uid: USER })).toBeUndefined();
});
