import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer as createTcpServer, connect as connectTcp } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { createAuthority } from '../../../licensing/authority/authority';
import { issueServerCertificate } from '../../../licensing/authority/server';
import type { TrustBundle } from '../../../attestation/trust/bundle';
import { fingerprint } from '../../../attestation/trust/public-key';
import { signTrustBundle } from '../../../attestation/trust/signed-bundle';
import { Machine, PASSWORD } from '../../support/machine';
import { makeSigningKey } from '../../support/trust';

const SECRET_DATA = 'the-data-nobody-else-may-see';
const SECRET_ARGUMENT = 'an-argument-nobody-else-may-see';

/** Verbs that speak to the enclave, each with something of the user's in it. */
const ENCLAVE_VERBS: Array<[string, string[]]> = [
  ['exec', ['exec', '--', 'grep', SECRET_ARGUMENT]],
  ['exec with a variable', ['exec', '-e', `X=${SECRET_ARGUMENT}`, '--', 'cat']],
  ['cp into the enclave', ['cp', '-', `enclave:${SECRET_ARGUMENT}`]],
  ['cp out of the enclave', ['cp', `enclave:${SECRET_ARGUMENT}`, '-']],
  ['proxy', ['proxy', '8888']],
  ['status --connect', ['status', '--connect']],
];

/** With one that goes on until it is interrupted, once the enclave is verified: for where it isn't. */
const UNVERIFIED_VERBS: typeof ENCLAVE_VERBS = [
  ...ENCLAVE_VERBS,
  ['forward', ['forward', '0:8888', './never.sock:8888']],
];

interface SavedFile {
  session: { accessToken: string; clientKey: string; enclave: { endpoint: string; tlsAddress: string } };
}

let machine: Machine;
let saved: SavedFile;
let mallory: { key: string; cert: string };
let malloryRoot: string;
const servers: Server[] = [];

beforeAll(async () => {
  machine = new Machine();
  await machine.startService();
  await machine.signUpAndLogin();
  saved = JSON.parse(readFileSync(machine.path('state', 'sls', 'session.json'), 'utf8')) as SavedFile;
  const authority = await createAuthority({ commonName: 'M', trustDomain: 'sls.local', years: 1 });
  malloryRoot = authority.certificate;
  const { privateKey, certificate } = await issueServerCertificate(authority, { hosts: ['127.0.0.1'] });
  mallory = { key: privateKey, cert: certificate };
});
afterAll(async () => {
  for (const server of servers) server.close();
  await machine.remove();
});

/** Runs the verb with the session changed; nothing else in its folder. */
async function withSession(
  change: (session: SavedFile['session']) => void,
  args: string[],
): ReturnType<Machine['sls']> {
  const state = machine.path('victim');
  mkdirSync(`${state}/sls`, { recursive: true });
  const copy = structuredClone(saved);
  change(copy.session);
  writeFileSync(`${state}/sls/session.json`, JSON.stringify(copy));
  return machine.sls(args, { stdin: SECRET_DATA, env: { ...machine.elsewhere('victim'), XDG_STATE_HOME: state } });
}

function listen(server: Server): Promise<string> {
  servers.push(server);
  return new Promise((resolve) =>
    server.listen(0, '127.0.0.1', () => resolve(`127.0.0.1:${(server.address() as AddressInfo).port}`)),
  );
}

/** Keeps all that arrives, and passes it on where there is somewhere. */
function recorder(onward?: string): { server: Server; seen: Buffer[] } {
  const seen: Buffer[] = [];
  const server = createTcpServer((socket) => {
    socket.on('error', () => undefined).on('data', (data) => seen.push(data));
    if (onward === undefined) return;
    const there = connectTcp(Number(onward.split(':').pop()), '127.0.0.1').on('error', () => undefined);
    socket.pipe(there).pipe(socket);
  });
  return { server, seen };
}

/** TLS that takes everyone, with a certificate of its own. `seen` is what came decrypted. */
function tlsRecorder(): { server: Server; seen: Buffer[]; connections: () => number } {
  const seen: Buffer[] = [];
  let connections = 0;
  const server = createTlsServer(
    { ...mallory, requestCert: true, rejectUnauthorized: false, ALPNProtocols: ['h2'] },
    (socket) => {
      socket.on('error', () => undefined).on('data', (data) => seen.push(data));
    },
  );
  server.on('tlsClientError', () => undefined);
  server.on('connection', () => connections++);
  return { server, seen, connections: () => connections };
}

function expectNoSecret(seen: Buffer[]): void {
  const text = Buffer.concat(seen).toString('latin1');
  const keyBody = saved.session.clientKey.split('\n')[1] as string;
  for (const secret of [SECRET_DATA, SECRET_ARGUMENT, PASSWORD, saved.session.accessToken, keyBody]) {
    expect(text.includes(secret)).toBe(false);
    expect(text.includes(Buffer.from(secret).toString('base64').slice(0, 20))).toBe(false);
  }
}

test.each(UNVERIFIED_VERBS)(
  '%s: a TLS server with another certificate gets a handshake and not one byte more',
  async (_name, args) => {
    const { server, seen, connections } = tlsRecorder();
    const address = await listen(server);
    const { code, stdout, stderr } = await withSession((session) => void (session.enclave.tlsAddress = address), args);
    expect({ code, stdout }).toEqual({ code: 5, stdout: '' });
    expect(stderr).toMatch(/sls: attestation refused at step connection \(connection.certificate_mismatch\)/);
    expect(stderr).toMatch(/hint: nothing of yours was sent/);
    expect(connections()).toBeGreaterThan(0);
    expect(Buffer.concat(seen)).toHaveLength(0);
    // Nothing listens here for an enclave that isn't verified.
    expect(existsSync(machine.path('never.sock'))).toBe(false);
  },
);

test.each(ENCLAVE_VERBS)(
  '%s: a listener on the plaintext path, passing all on, sees no secret',
  async (_name, args) => {
    const { server, seen } = recorder(saved.session.enclave.endpoint);
    const address = await listen(server);
    await withSession((session) => void (session.enclave.endpoint = `http://${address}`), args);
    expect(Buffer.concat(seen).length).toBeGreaterThan(0);
    expectNoSecret(seen);
  },
);

test.each(ENCLAVE_VERBS)(
  '%s: an endpoint that says nothing and a TLS port that says nothing get no secret',
  async (_name, args) => {
    const plain = recorder();
    const tls = recorder();
    // They hang up when something was said: nobody waits for an answer for as long as one may take.
    for (const { server } of [plain, tls])
      server.on('connection', (socket: Socket) => socket.on('data', () => socket.destroy()));
    const [endpoint, tlsAddress] = [await listen(plain.server), await listen(tls.server)];
    const { code } = await withSession(
      (session) => Object.assign(session.enclave, { endpoint: `http://${endpoint}`, tlsAddress }),
      args,
    );
    expect(code).not.toBe(2);
    expect(Buffer.concat(plain.seen).length).toBeGreaterThan(0);
    expectNoSecret([...plain.seen, ...tls.seen]);
  },
);

test.each(['signup', 'login'])(
  '%s: a service with a certificate of another CA gets neither the password nor a token',
  async (verb) => {
    const { server, seen, connections } = tlsRecorder();
    const address = `https://${await listen(server)}`;
    const trust = await machine.signBundle('bundle.jws', { services: { signup: address, login: address } });
    const { code, stderr } = await machine.sls([verb, '--username', 'ada', '--password-stdin', ...trust], {
      stdin: `${PASSWORD}\n`,
      env: { XDG_STATE_HOME: machine.path(`bundle-${verb}`) },
    });
    expect(code).toBe(6);
    expect(stderr).toMatch(/^sls: .+\nhint: .+/m);
    expect(connections()).toBeGreaterThan(0);
    expect(Buffer.concat(seen)).toHaveLength(0);
  },
);

test('a token of one service is never offered to another one, even when its user logs in there', async () => {
  const { server, seen } = tlsRecorder();
  const address = `https://${await listen(server)}`;
  const services = { signup: address, login: address };
  // Of an installation of its own, which calls itself the same.
  const trustKey = makeSigningKey();
  const bundle: TrustBundle = {
    ...machine.trustBundle(),
    trustKey: trustKey.publicKey,
    serverRoots: [malloryRoot],
    services,
  };
  writeFileSync(machine.path('other.jws'), await signTrustBundle(bundle, trustKey.privateKey));
  const other = ['--trust', 'other.jws', '--trust-fingerprint', await fingerprint(trustKey.publicKey)];
  // No password is asked for where a token is used: this one has to be.
  const { code, stderr } = await machine.sls(['login', '--username', 'ada', ...other]);
  expect({ code, stderr }).toEqual({
    code: 2,
    stderr: expect.stringContaining('no terminal on which to ask for the password'),
  });
  expect(Buffer.concat(seen)).toHaveLength(0);
});
