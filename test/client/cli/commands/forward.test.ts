import { execFile } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { promisify } from 'node:util';
import { eventually } from '../../../support/eventually';
import { Machine } from '../../../support/machine';

const run = promisify(execFile);

let machine: Machine;
let web: Server;
let port: number;
const servers: Server[] = [];
beforeAll(async () => {
  machine = new Machine();
  await machine.startService();
  await machine.signUpAndLogin();
  // A program in the enclave, whose loopback is this machine's.
  web = createHttpServer((request, response) => response.end(`you asked for ${request.url}`));
  port = await listening(web);
});
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});
afterAll(async () => {
  web.close();
  await machine.remove();
});

async function listening(server: Server, at = 0): Promise<number> {
  server.listen(at, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

interface Forwards {
  /** Of each argument, the first. */
  ports: number[];
  json: { forwards: Array<{ listen: Array<{ address?: string; port?: number; socket?: string }> }> };
  stderr(): string;
  /** By SIGINT. */
  end(): Promise<{ code: number | null; stderr: string }>;
  ended: ReturnType<Machine['sls']>;
}

/** `sls forward`, once it listens. */
async function forward(...args: string[]): Promise<Forwards> {
  let child: ChildProcess | undefined;
  const output = { stdout: '', stderr: '' };
  const ended = machine.sls(['forward', '--json', ...args], {
    onStart: (started) => {
      child = started;
      started.stdout?.on('data', (piece: Buffer) => (output.stdout += String(piece)));
      started.stderr?.on('data', (piece: Buffer) => (output.stderr += String(piece)));
    },
  });
  ended.catch(() => undefined);
  const json = await eventually(
    () => output.stdout.endsWith('}\n') && (JSON.parse(output.stdout) as Forwards['json']),
    () => output.stderr,
  );
  return {
    ports: json.forwards.map(({ listen }) => listen[0]?.port ?? 0),
    json,
    stderr: () => output.stderr,
    ended,
    async end() {
      child!.kill('SIGINT');
      return ended;
    },
  };
}

const get = async (at: number, path = '', ...options: string[]): Promise<string> =>
  (await run('curl', ['-sS', '--noproxy', '*', ...options, `http://localhost:${at}/${path}`])).stdout;

test('curl reads from a program in the enclave, over IPv4, IPv6 and a socket that is its owner’s alone', async () => {
  const forwards = await forward(`0:${port}`, `./web.sock:${port}`);
  const [at = 0] = forwards.ports;
  expect(await get(at, 'four', '-4')).toBe('you asked for /four');
  expect(forwards.json.forwards[0]?.listen).toEqual([
    { address: '127.0.0.1', port: at },
    { address: '::1', port: at },
  ]);
  expect(await get(at, 'six', '-6')).toBe('you asked for /six');
  expect(statSync(machine.path('web.sock')).mode & 0o777).toBe(0o600);
  expect(await get(at, 'unix', '--unix-socket', machine.path('web.sock'))).toBe('you asked for /unix');
  expect(await forwards.end()).toMatchObject({ code: 130 });
  expect(existsSync(machine.path('web.sock'))).toBe(false);
});

test('a port that is taken here is replaced by the next one, which is said; one that was asked for here is not', async () => {
  // The program itself has it: there is one loopback.
  const forwards = await forward(String(port));
  const [at = 0] = forwards.ports;
  expect(at).toBeGreaterThan(port);
  expect(forwards.stderr()).toContain(`sls: port ${port} is taken on this machine: port ${at} leads to it\n`);
  expect(await get(at, 'next')).toBe('you asked for /next');
  await forwards.end();
  expect(await machine.sls(['forward', '-q', `${port}:${port}`])).toMatchObject({
    code: 1,
    stdout: '',
    stderr: `sls: can't listen on 127.0.0.1:${port}: EADDRINUSE\nhint: 0:PORT takes any port that is free\n`,
  });
});

test('what is no socket, or a socket in use, is not replaced', async () => {
  writeFileSync(machine.path('kept'), 'kept');
  const server = createServer().listen(machine.path('used.sock'));
  servers.push(server);
  await once(server, 'listening');
  for (const name of ['kept', 'used.sock'])
    expect(await machine.sls(['forward', '-q', `./${name}:${port}`])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`can't listen on ./${name}: EADDRINUSE`),
    });
  expect(statSync(machine.path('kept')).isFile()).toBe(true);
});

test('what is refused in the enclave cuts the connection, and the command goes on', async () => {
  const closed = createServer();
  const nobody = await listening(closed);
  closed.close();
  const forwards = await forward(`0:${nobody}`, '0:10.0.0.1:80', `0:${port}`);
  const [refused = 0, foreign = 0, there = 0] = forwards.ports;
  await expect(get(refused)).rejects.toThrow();
  await eventually(() => forwards.stderr().includes(`nothing listens on port ${nobody} of the enclave`));
  await expect(get(foreign)).rejects.toThrow();
  await eventually(() => forwards.stderr().includes("expected an address of the enclave's own loopback"));
  expect(await get(there, 'on')).toBe('you asked for /on');
  await forwards.end();
});

test('it outlives its session: what was open ends, and the next connection verifies again', async () => {
  const forwards = await forward(`0:${port}`);
  const [at = 0] = forwards.ports;
  const open = connect(at, '127.0.0.1');
  open.on('error', () => undefined);
  open.write('GET /kept HTTP/1.1\r\nHost: x\r\n\r\n');
  await once(open, 'data');
  const closed = new Promise((resolve) => open.once('close', resolve));
  expect((await machine.sls(['enclaves', 'stop', 'default'])).code).toBe(0);
  await closed;
  await eventually(() => forwards.stderr().includes('the next connection to a port connects and verifies again'));
  expect(await get(at, 'again')).toBe('you asked for /again');
  expect(forwards.stderr()).toContain('the enclave is gone: logging in again');
  await forwards.end();
});

test('proxy is one connection on standard input and output, each of which ends by itself', async () => {
  const upper = createServer({ allowHalfOpen: true }, (socket) => {
    let all = '';
    socket.on('data', (chunk: Buffer) => (all += String(chunk))).on('end', () => socket.end(all.toUpperCase()));
  });
  servers.push(upper);
  const at = await listening(upper);
  expect(await machine.sls(['proxy', '-q', String(at)], { stdin: 'through' })).toMatchObject({
    code: 0,
    stdout: 'THROUGH',
    stderr: '',
  });
  expect(await machine.sls(['proxy', '-q', '10.0.0.1:80'])).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("sls: expected an address of the enclave's own loopback"),
  });
});
