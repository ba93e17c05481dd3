import { execFileSync, spawn } from 'node:child_process';
import { lstatSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { built } from '../../../support/built';
import { eventually, stalled } from '../../../support/eventually';
import { Machine } from '../../../support/machine';
import { ownDevices } from '../../../support/own-devices';

let machine: Machine;
beforeAll(async () => {
  machine = new Machine();
  await machine.startService();
  await machine.signUpAndLogin();
  expect((await machine.sls(['cp', '-q', '-', 'enclave:file'], { stdin: TEXT })).code).toBe(0);
});
afterAll(() => machine.remove());

const TEXT = 'what there is to copy\n'.repeat(10_000);
const asRoot = process.geteuid?.() === 0 ? test : test.skip;

/**
 * A script in bash, in which `sls` is ours; what hangs has failed, with all that it began.
 * @param under a program that runs it @param seconds until it hangs
 */
function script(
  text: string,
  under = 'env',
  seconds = 120,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const shell = ['bash', '-c', `sls() { "$0" '${built('sls')}' "$@"; }\n${text}`, process.execPath];
  const child = spawn('timeout', ['-s', 'KILL', String(seconds), under, ...shell], {
    cwd: machine.folder,
    env: machine.env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (piece: string) => (stdout += piece));
  child.stderr.setEncoding('utf8').on('data', (piece: string) => (stderr += piece));
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, stdout, stderr })));
}

asRoot('a device is written into, and stays one', async () => {
  // Ones of our own: this machine's are for others as well.
  execFileSync('mknod', [machine.path('null'), 'c', '1', '3']);
  execFileSync('mknod', [machine.path('full'), 'c', '1', '7']);
  symlinkSync('null', machine.path('link-to-null'));
  for (const name of ['null', 'link-to-null']) {
    expect(await machine.sls(['cp', '-q', 'enclave:file', name])).toMatchObject({ code: 0, stderr: '' });
  }
  expect(lstatSync(machine.path('null')).isCharacterDevice()).toBe(true);
  expect(readlinkSync(machine.path('link-to-null'))).toBe('null');
  expect(await machine.sls(['cp', '-q', 'enclave:file', 'full'])).toMatchObject({
    code: 1,
    stderr: "sls: can't write full: ENOSPC\n",
  });
  expect(lstatSync(machine.path('full')).isCharacterDevice()).toBe(true);
});

test('a FIFO gets it, whether its reader is there before or after', async () => {
  execFileSync('mkfifo', [machine.path('fifo')]);
  expect(await script('cat fifo & sls cp -q enclave:file fifo; wait')).toEqual({ code: 0, stdout: TEXT, stderr: '' });
  // Nobody reads until it is waited for.
  const waiting = script('sls cp -q enclave:file fifo & wait $!');
  await eventually(() => machine.processes().some(({ command }) => command.includes('cp -q enclave:file fifo')));
  expect((await script('cat fifo')).stdout).toBe(TEXT);
  expect((await waiting).code).toBe(0);
  expect(lstatSync(machine.path('fifo')).isFIFO()).toBe(true);
});

test('a FIFO is no file to copy from, as with scp: it is refused at once, with the way that there is', async () => {
  execFileSync('mkfifo', [machine.path('source')]);
  const refused = {
    code: 1,
    stdout: '',
    stderr: `sls: expected source to be a regular file, got a device, socket or pipe\nhint: sls cp - enclave:NAME < source\n`,
  };
  // Nobody writes into it: whoever waited for that would wait for ever.
  expect(await script('sls cp -q source enclave:copied', 'env', 30)).toMatchObject(refused);
  expect(await script('sls cp -q <(echo through) enclave:copied')).toMatchObject({ code: 1, stdout: '' });
  expect((await machine.sls(['exec', '-q', 'test', '-e', 'copied'])).code).toBe(1);
  expect(await script('echo through > source & sls cp -q - enclave:copied < source')).toMatchObject({ code: 0 });
  expect((await machine.sls(['cp', '-q', 'enclave:copied', '-'])).stdout).toBe('through\n');
});

test('who waits for a reader that doesn’t come can be ended, and a reader that goes is no failure to tell', async () => {
  execFileSync('mkfifo', [machine.path('lonely')]);
  const { code } = await machine.sls(['cp', '-q', 'enclave:file', 'lonely'], {
    onStart: (child) => {
      // It works until there is nothing left to do but to wait.
      const cpu = (): number => {
        const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(' ');
        return Number(fields[13]) + Number(fields[14]);
      };
      void eventually(() => cpu() > 20)
        .then(() => stalled(cpu))
        .then(() => child.kill('SIGINT'));
    },
  });
  expect(code).toBe(130);
  const gone = await script('head -c 5 lonely & sls cp -q enclave:file lonely; echo "$?"; wait');
  expect(gone).toMatchObject({ stderr: '' });
  expect(gone.stdout).toMatch(/^(what \n?|0\n|141\n)+$/);
});

test('what the shell has open is written into: a process substitution, standard output, any other descriptor', async () => {
  const under = ownDevices();
  if (under === undefined) return;
  expect(await script('sls cp -q enclave:file >(wc -c); sleep 0; wait $!', under)).toMatchObject({
    code: 0,
    stdout: `${TEXT.length}\n`,
  });
  expect(
    await script('sls cp -q enclave:file /dev/stdout | sha256sum; sls cp -q enclave:file - | sha256sum', under),
  ).toMatchObject({
    stdout: expect.stringMatching(/^(\w{64} {2}-\n)\1$/) as string,
  });
  const descriptors =
    'echo before >out; sls cp -q enclave:file /dev/stdout >>out; sls cp -q enclave:file /dev/fd/7 7>>out';
  expect(await script(descriptors, under)).toMatchObject({ code: 0, stderr: '' });
  expect(readFileSync(machine.path('out'), 'utf8')).toBe(`before\n${TEXT}${TEXT}`);
});

test('a link is written through', async () => {
  writeFileSync(machine.path('real'), 'old');
  symlinkSync('real', machine.path('link'));
  symlinkSync('not-there-yet', machine.path('dangling'));
  for (const name of ['link', 'dangling']) expect((await machine.sls(['cp', '-q', 'enclave:file', name])).code).toBe(0);
  expect([readlinkSync(machine.path('link')), readlinkSync(machine.path('dangling'))]).toEqual([
    'real',
    'not-there-yet',
  ]);
  for (const name of ['real', 'not-there-yet']) expect(readFileSync(machine.path(name), 'utf8')).toBe(TEXT);
});

test('a file that grows, one that says it is empty, and one that says it is larger than it is are copied as they are read', async () => {
  const growing = await script(
    `head -c 3000000 /dev/zero >growing
    (while echo line; do sleep 0.01; done) >>growing & pid=$!
    sls cp -q growing enclave:growing; code=$?; kill $pid
    stat -c %s growing; exit $code`,
  );
  expect(growing).toMatchObject({ code: 0, stderr: '' });
  const [arrived, now] = [
    (await machine.sls(['exec', '-q', 'stat', '-c', '%s', 'growing'])).stdout,
    growing.stdout,
  ].map(Number);
  expect(arrived).toBeGreaterThanOrEqual(3_000_000);
  expect(arrived).toBeLessThanOrEqual(now!);

  // /proc/version is not empty, and no file of /sys has a page of contents.
  for (const path of ['/proc/version', '/sys/kernel/mm/transparent_hugepage/enabled']) {
    const text = readFileSync(path, 'utf8');
    expect(await machine.sls(['cp', '-q', path, 'enclave:odd'])).toMatchObject({ code: 0, stderr: '' });
    expect((await machine.sls(['exec', '-q', 'cat', 'odd'])).stdout).toBe(text);
    expect((await machine.sls(['cp', '-q', `enclave:${path}`, '-'])).stdout).toBe(text);
  }
});
