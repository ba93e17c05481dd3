import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createAuthority } from '../../../licensing/authority/authority';
import type { TrustBundle } from '../../../attestation/trust/bundle';
import { fingerprint } from '../../../attestation/trust/public-key';
import { signTrustBundle } from '../../../attestation/trust/signed-bundle';
import { Machine } from '../../support/machine';
import { makeSigningKey, trustBundleKeys } from '../../support/trust';

const VERBS = ['signup', 'login', 'exec', 'cp', 'status', 'logout', 'verify', 'up'];
/** Groups of commands, and what is in them. */
const GROUPS: Record<string, string[]> = {
  trust: ['add', 'show', 'remove'],
  audit: ['check', 'forget'],
  admin: [
    'init',
    'certificate',
    'nodes list',
    'nodes approve',
    'nodes revoke',
    'user revoke',
    'ak revoke',
    'ek restore',
    'revocations',
    'rotate',
    'trust-bundle export',
    'trust-bundle sign',
    'orphans list',
    'orphans permit',
    'audit tail',
    'audit verify',
  ],
};

let machine: Machine;
let bundle: string;
beforeAll(async () => {
  machine = new Machine();
  const { certificate } = await createAuthority({ commonName: 'CA', trustDomain: 'sls.local', years: 1 });
  // Nobody listens on port 1.
  const trustKey = makeSigningKey('trust');
  const content: TrustBundle = {
    version: 1,
    ...trustBundleKeys(),
    trustKey: trustKey.publicKey,
    trustDomain: 'sls.local',
    attestationRoots: [certificate],
    serverRoots: [certificate],
    services: { signup: 'https://127.0.0.1:1', login: 'https://127.0.0.1:1' },
    policy: { softwareTpm: 'allow' },
  };
  bundle = await signTrustBundle(content, trustKey.privateKey);
  machine.env['SLS_TRUST_FINGERPRINT'] = await fingerprint(trustKey.publicKey);
});
afterAll(() => machine.remove());

test('every help text ends in an example to copy, and goes to standard output', async () => {
  const grouped = Object.entries(GROUPS).flatMap(([group, names]) =>
    names.map((name) => [group, ...name.split(' '), '--help']),
  );
  for (const args of [['--help'], ...VERBS.map((verb) => [verb, '--help']), ...grouped]) {
    const { code, stdout, stderr } = await machine.sls(args);
    expect({ args, code, stderr }).toEqual({ args, code: 0, stderr: '' });
    expect(stdout).toMatch(/\nExample:\n( {2}sls .+\n)+$/);
  }
});

test.each([
  ['an unknown command', ['frobnicate']],
  ['no command', []],
  ['an unknown option', ['login', '--frobnicate']],
  ['exec without a command', ['exec']],
  ['cp between two local files', ['cp', 'a', 'b']],
  ['cp inside the enclave', ['cp', 'enclave:a', 'enclave:b']],
  ['cp to no name', ['cp', '-', 'enclave:']],
  ['a malformed digest', ['login', '--image-digest', 'latest', '--trust', 'bundle.jws']],
  ['a malformed server', ['signup', '--server', 'a/b', '--trust', 'bundle.jws']],
  ['a malformed time', ['verify', 'x', '--at', 'yesterday']],
  ['a TPM without its roots', ['up', '--tpm', 'device:/dev/tpmrm0']],
  ['a port of metrics that leaves no room for the others', ['up', '--metrics-port', '65535']],
  ['another verdict', ['login', '--software-tpm', 'maybe']],
  ['a username with no terminal to ask on', ['login', '--trust', 'bundle.jws']],
  ['a password with no terminal to ask on', ['login', '--username', 'ada', '--trust', 'bundle.jws']],
  ['no trust bundle', ['login', '--username', 'ada']],
  ['a trust bundle that is not there', ['login', '--trust', 'nowhere.json']],
  ['a trust bundle that is none', ['login', '--trust', 'wrong.json']],
])('wrong usage ends with 2 and says what to do: %s', async (_name, args) => {
  writeFileSync(machine.path('bundle.jws'), bundle);
  writeFileSync(machine.path('wrong.json'), 'none');
  const { code, stdout, stderr } = await machine.sls(args);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).not.toMatch(/ {4}at |TypeError|Error:/);
  expect(stderr.trim()).not.toBe('');
});

test('a password is never taken from argv: there is no option for it', async () => {
  for (const verb of ['signup', 'login']) {
    const { code, stderr } = await machine.sls([verb, '--username', 'ada', '--password', 'secret']);
    expect(code).toBe(2);
    expect(stderr).toContain('--password');
    expect((await machine.sls([verb, '--help'])).stdout).not.toMatch(/--password(?!-stdin)/);
  }
});

test.each(['exec ls', 'cp a.txt enclave:a.txt', 'cp enclave:a.txt -', 'status', 'status --connect'])(
  'who is not logged in is told to log in, with 4: %s',
  async (line) => {
    writeFileSync(machine.path('a.txt'), 'a');
    const { code, stderr } = await machine.sls(line.split(' '));
    expect({ code, stderr }).toEqual({ code: 4, stderr: 'sls: not logged in\nhint: run: sls login\n' });
  },
);

test('a saved session that is damaged is told, not thrown', async () => {
  mkdirSync(machine.path('state', 'sls'), { recursive: true });
  for (const text of ['', '{"version":2', '{"version":1,"username":"ada"}', '[]', 'null']) {
    writeFileSync(machine.path('state', 'sls', 'session.json'), text);
    const { code, stderr } = await machine.sls(['status']);
    expect({ text, code }).toEqual({ text, code: 4 });
    expect(stderr).toContain('hint: run: sls login');
  }
  expect((await machine.sls(['logout'])).code).toBe(0);
  expect(() => readFileSync(machine.path('state', 'sls', 'session.json'))).toThrow('ENOENT');
  expect(JSON.parse((await machine.sls(['logout', '--json'])).stdout)).toEqual({ loggedOut: false, sessionsEnded: 0 });
});

test('logout --all ends all, whatever enclave the environment prefers; named beside it, the enclave is refused', async () => {
  mkdirSync(machine.path('state', 'sls'), { recursive: true });
  for (const name of ['session.json', 'session-gpu-lab.json']) writeFileSync(machine.path('state', 'sls', name), '{}');
  const refused = await machine.sls(['logout', '--all', '--enclave', 'gpu-lab']);
  expect(refused).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('expected --all or --enclave, got both') as string,
  });
  expect((await machine.sls(['logout', '--all'], { env: { SLS_ENCLAVE: 'gpu-lab' } })).code).toBe(0);
  for (const name of ['session.json', 'session-gpu-lab.json'])
    expect(existsSync(machine.path('state', 'sls', name))).toBe(false);
});

test('a service that nobody serves: 6, with a hint; with --json the error is a document too', async () => {
  writeFileSync(machine.path('bundle.jws'), bundle);
  const args = ['login', '--username', 'ada', '--password-stdin', '--trust', 'bundle.jws'];
  const plain = await machine.sls(args, { stdin: 'secret\n' });
  expect(plain.code).toBe(6);
  expect(plain.stderr).toMatch(/^sls: logging in\nsls: .+\nhint: .+\n$/);
  const quiet = await machine.sls([...args, '--quiet', '--json'], { stdin: 'secret\n' });
  expect(quiet.stderr).toMatch(/^sls: .+\nhint: .+\n$/);
  expect(JSON.parse(quiet.stdout)).toMatchObject({ error: { exitCode: 6, code: expect.any(String) } });
  expect(plain.stderr + quiet.stderr + quiet.stdout).not.toContain('secret');
});

test('an installation folder too long for unix sockets is refused with its length', async () => {
  const { code, stderr } = await machine.sls(['up', '--dir', machine.path('x'.repeat(100))]);
  expect(code).toBe(1);
  expect(stderr).toMatch(/bytes at most[^]*hint: choose a shorter one with --dir/);
});
