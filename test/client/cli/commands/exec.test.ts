import { spawn } from 'node:child_process';
import { built } from '../../../support/built';
import { Machine } from '../../../support/machine';

let machine: Machine;
beforeAll(async () => {
  machine = new Machine();
  await machine.startService();
  await machine.signUpAndLogin();
});
afterAll(() => machine.remove());

/** A script in bash, in which `sls` is ours. */
function script(text: string): Promise<{ code: number | null; stdout: string }> {
  const child = spawn('bash', ['-c', `sls() { "$0" '${built('sls')}' "$@"; }\n${text}`, process.execPath], {
    cwd: machine.folder,
    env: machine.env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => (stdout += piece));
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, stdout })));
}

test('what a process substitution in the enclave writes after the command is all there', async () => {
  const command = 'bash -c "seq 300000 > >(gzip)"';
  expect(await script(`sls exec -q -- ${command} | gunzip | sha256sum; seq 300000 | sha256sum`)).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^(\w{64} {2}-\n)\1$/) as string,
  });
});

test('--detach ends with the command and its status, though something holds its output', async () => {
  const { code, stdout } = await machine.sls([
    'exec',
    '-q',
    '--detach',
    '--',
    'sh',
    '-c',
    'sleep 98765 & echo $!; exit 9',
  ]);
  expect(code).toBe(9);
  expect((await machine.sls(['exec', '-q', 'kill', '-KILL', stdout.trim()])).code).toBe(0);
});

test('-n leaves standard input to the loop around it; without it the first command takes all', async () => {
  const loop = (n: string): string =>
    `printf '1\\n2\\n3\\n' | while read -r line; do sls exec -q ${n} -- cat; echo $line; done`;
  expect((await script(loop('-n'))).stdout).toBe('1\n2\n3\n');
  expect((await script(loop(''))).stdout).toBe('2\n3\n1\n');
});

test('each -e takes one variable, and what follows is the command', async () => {
  const { code, stdout } = await machine.sls(['exec', '-q', '-e', 'ONE=1', '-e', 'TWO=2', 'env']);
  expect(code).toBe(0);
  expect(stdout).toContain('ONE=1\n');
  expect(stdout).toContain('TWO=2\n');
});

test('piped input that ends in the middle of a line ends that of a terminal', async () => {
  const { code, stdout } = await machine.sls(
    ['exec', '-q', '-t', '--', 'sh', '-c', 'stty -echo; cat; echo; stty size'],
    {
      stdin: 'no line',
    },
  );
  // No terminal here, so nobody knows a size.
  expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/no line\r\n0 0\r\n$/) as string });
});
