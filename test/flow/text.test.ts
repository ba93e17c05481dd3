import { spawn } from 'node:child_process';
import { spawn as spawnPty } from '@lydell/node-pty';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { Client, Metadata } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import { SignUpRequest } from '../../proto/gen/licensing/v1/account';
import { channelCredentials, grpcTarget, parseAddress } from '../../runtime/rpc/address';
import { REASON_KEY } from '../../runtime/rpc/errors';
import { built } from '../support/built';
import { Machine } from '../support/machine';
import type { Ended } from '../support/machine';

let machine: Machine;
beforeAll(async () => {
  machine = new Machine();
  await machine.startService();
});
afterAll(() => machine.remove());

/** "corréct horse battery staple" in ISO 8859-1. */
const latin1 = (letter: string): Buffer => Buffer.from(`corr${letter}ct horse battery staple\n`, 'latin1');
const signUp = (username: string, stdin: string | Buffer): Promise<Ended> =>
  machine.sls(['signup', '--username', username, '--password-stdin'], { stdin });
const logIn = (username: string, stdin: string | Buffer): Promise<Ended> =>
  machine.sls(['login', '--username', username, '--password-stdin'], { stdin });

const REFUSED = {
  code: 2,
  stderr: expect.stringMatching(/^sls: expected .* to be UTF-8 text, got other bytes\nhint: .*iconv.*\n$/) as string,
};

test('a password that is no UTF-8 is refused before it is sent: it would be the same as another one', async () => {
  expect(await signUp('ada', latin1('é'))).toMatchObject(REFUSED);
  expect((await signUp('ada', 'corréct horse battery staple\n')).code).toBe(0);
  expect(await logIn('ada', latin1('é'))).toMatchObject(REFUSED);
  // What both used to become.
  expect((await logIn('ada', 'corr\ufffdct horse battery staple\n')).code).toBe(4);
  expect(
    await machine.sls(['passwd', '--password-stdin'], {
      stdin: Buffer.concat([Buffer.from('corréct horse battery staple\n'), latin1('è')]),
    }),
  ).toMatchObject(REFUSED);
});

test('a password typed on a terminal that is not in UTF-8 is refused as well', async () => {
  // Of ada there is a session, so nothing would be asked.
  const terminal = spawnPty(process.execPath, [built('sls'), 'login', '--username', 'grace'], {
    cwd: machine.folder,
    env: machine.env,
  });
  let said = '';
  terminal.onData((text) => {
    said += text;
    // It takes bytes as well, and says so only in its newer types.
    if (said.endsWith('Password: ')) terminal.write(latin1('é') as unknown as string);
  });
  const { exitCode } = await new Promise<{ exitCode: number }>((resolve) => terminal.onExit(resolve));
  expect({ exitCode, said }).toEqual({
    exitCode: 2,
    said: expect.stringContaining('expected what was typed to be UTF-8'),
  });
});

test('a client of another make is refused by the service as well', async () => {
  const request = SignUpRequest.encode({
    username: 'eve',
    password: 'corrXct horse battery staple',
    clientName: '',
  }).finish();
  request[Buffer.from(request).indexOf('X')] = 0xe9;
  const { services, serverRoots } = machine.trustBundle();
  const address = parseAddress(services.signup);
  const client = new Client(grpcTarget(address), channelCredentials(address, Buffer.from(serverRoots.join('\n'))));
  const same = (bytes: Buffer): Buffer => bytes;
  const refusal = await new Promise<ServiceError | null>((resolve) =>
    client.makeUnaryRequest(
      '/licensing.v1.AccountService/SignUp',
      same,
      same,
      Buffer.from(request),
      new Metadata(),
      (error) => resolve(error),
    ),
  );
  client.close();
  expect(refusal?.metadata.get(REASON_KEY)).toEqual(['rpc.malformed']);
  expect((await logIn('eve', 'corr\ufffdct horse battery staple\n')).code).toBe(4);
});

test('an argument that is no UTF-8 names no other file and no other user', async () => {
  // Only a shell can hand such bytes over: Node.js writes its arguments as UTF-8.
  const shell = (command: string): Promise<Ended> => run(`"$NODE" "$SLS" ${command}`);
  expect(await shell(`login --username "$(printf 'ad\\351')" --password-stdin < /dev/null`)).toMatchObject({
    ...REFUSED,
    stderr: expect.stringContaining('argument 3') as string,
  });
  writeFileSync(machine.path('\ufffd'), 'another file');
  const before = readdirSync(machine.folder);
  expect(await shell(`cp "$(printf '\\351')" enclave:f`)).toMatchObject(REFUSED);
  expect(await shell(`cp enclave:f "$(printf '\\351')"`)).toMatchObject(REFUSED);
  expect(await shell(`verify "$(printf '\\351')"`)).toMatchObject(REFUSED);
  expect(readdirSync(machine.folder)).toEqual(before);
  // Whoever means U+FFFD may say so.
  expect(await shell(`verify "$(printf '\\357\\277\\275')"`)).toMatchObject({ code: 5 });
  expect(await run(`SLS_TRUST="$(printf '/tmp/\\351')" "$NODE" "$SLS" trust show`)).toMatchObject({
    ...REFUSED,
    stderr: expect.stringContaining('$SLS_TRUST') as string,
  });
});

test.each([
  ['a trust bundle', ['trust', 'add', 'bytes']],
  ['a licence key', ['licence', 'show', 'bytes']],
  ['evidence', ['verify', 'bytes']],
  ['a head', ['audit', 'check', '--head', 'bytes']],
])('%s that is no UTF-8 is refused by name, from a file and from standard input', async (_, args) => {
  const bytes = Buffer.from([0x7b, 0xff, 0x7d]);
  writeFileSync(machine.path('bytes'), bytes);
  const file = await machine.sls(args);
  expect(file).toMatchObject({ ...REFUSED, stderr: expect.stringContaining('bytes to be UTF-8') as string });
  const piped = await machine.sls(
    args.map((arg) => (arg === 'bytes' ? '-' : arg)),
    { stdin: bytes },
  );
  expect(piped).toMatchObject({ ...REFUSED, stderr: expect.stringContaining('on standard input') as string });
  expect(existsSync(machine.path('config'))).toBe(false);
});

function run(script: string): Promise<Ended> {
  const child = spawn('sh', ['-c', script], {
    cwd: machine.folder,
    env: { ...machine.env, NODE: process.execPath, SLS: built('sls') },
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  return new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal, stdout, stderr })));
}
