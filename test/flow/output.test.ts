import { execFile } from 'node:child_process';
import { built } from '../support/built';
import { Machine } from '../support/machine';

let machine: Machine;
beforeAll(async () => {
  machine = new Machine();
  await machine.startService();
  await machine.signUpAndLogin('ada');
});
afterAll(() => machine.remove());

/** With standard output where nothing can be written. */
function intoFull(args: string[], stdin = ''): Promise<{ code: number | null; stderr: string }> {
  return new Promise((resolve) => {
    const child = execFile(
      'sh',
      ['-c', 'exec "$0" "$@" > /dev/full', process.execPath, built('sls'), ...args],
      { cwd: machine.folder, env: machine.env },
      (_error, _stdout, stderr) => resolve({ code: child.exitCode, stderr }),
    );
    child.stdin?.end(stdin);
  });
}

const REFUSED = {
  code: 1,
  stderr: expect.stringMatching(/^(sls: .*\n)*sls: can't write to standard output: ENOSPC\n$/) as string,
};

test.each(
  [
    ['status'],
    ['status', '--json'],
    ['sessions', 'list', '--json'],
    ['seats', 'list'],
    ['licence'],
    ['account', 'show'],
    ['audit', 'check', '--json'],
    ['trust', 'show'],
    ['totp', 'status'],
    ['enclaves', 'list'],
    ['exec', 'echo', 'something'],
    ['admin', 'audit', 'tail'],
    ['admin', 'trust-bundle', 'export'],
    ['--help'],
    ['login', '--help'],
    ['--version'],
  ].map((args) => [args.join(' '), args] as const),
)('standard output that can not be written: sls %s ends with 1 and says so', async (_, args) => {
  expect(await intoFull([...args])).toEqual(REFUSED);
});

test('a file that is copied there as well', async () => {
  await machine.sls(['cp', '-', 'enclave:file'], { stdin: 'x'.repeat(100_000) });
  expect(await intoFull(['cp', 'enclave:file', '-'])).toEqual(REFUSED);
});

test('whoever has read enough has ended: nothing is said', async () => {
  for (const args of [['sessions', 'list'], ['--help']]) {
    const { code, stderr } = await new Promise<{ code: number | null; stderr: string }>((resolve) => {
      const child = execFile(
        'bash',
        ['-c', '"$0" "$@" | true; exit "${PIPESTATUS[0]}"', process.execPath, built('sls'), ...args],
        { cwd: machine.folder, env: machine.env },
        (_error, _stdout, said) => resolve({ code: child.exitCode, stderr: said }),
      );
    });
    expect({ code: [0, 141].includes(code ?? -1), stderr }).toEqual({ code: true, stderr: '' });
  }
});

test('a licence whose key could not be shown is revoked again', async () => {
  const issue = ['admin', 'licence', 'issue', '--plan', 'team', '--days', '1', '--reason', 'test'];
  const { code, stderr } = await intoFull(issue);
  expect({ code, stderr }).toEqual({
    code: 1,
    stderr: expect.stringContaining("can't write to standard output: ENOSPC; the licence is revoked again") as string,
  });
  expect(JSON.parse((await machine.sls(['admin', 'licence', 'list', '--json'])).stdout)).toEqual([
    expect.objectContaining({ state: 'revoked' }),
  ]);
});

test('standard error that can not be written keeps nothing from being done', async () => {
  const code = await new Promise((resolve) => {
    const child = execFile(
      'sh',
      ['-c', 'exec "$0" "$@" 2> /dev/full', process.execPath, built('sls'), 'exec', 'true'],
      { cwd: machine.folder, env: machine.env },
      () => resolve(child.exitCode),
    );
  });
  expect(code).toBe(0);
});

test.each([
  ['an option that there is not', ['status', '--json', '--no-such-option']],
  ['an argument that is missing', ['cp', '--json']],
  ['a value that is none', ['login', '--json', '--software-tpm', 'perhaps']],
  ['an argument that was not expected', ['logout', '--json', 'ada']],
  ['an enclave whose name is none', ['status', '--json', '--enclave', 'A_b']],
])('a wrong command line with --json is a document as well: %s', async (_, args) => {
  const { code, stdout, stderr } = await machine.sls(args);
  expect({ code, error: JSON.parse(stdout) as unknown }).toEqual({
    code: 2,
    error: { error: { message: expect.not.stringMatching(/^error/) as string, code: 'sls.usage', exitCode: 2 } },
  });
  expect(stderr).toMatch(/^sls: /);
});

test('a command of the enclave with --json of its own asks for no documents of ours', async () => {
  const { code, stdout } = await machine.sls(['exec', '--no-such-option', '--', 'true', '--json']);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
});
