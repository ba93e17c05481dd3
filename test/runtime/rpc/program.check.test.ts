import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { exportJWK, generateKeyPair } from 'jose';
import { makeAuthority } from '../../support/authority';
import { writeAccountFiles } from '../../support/accounts';
import type { AccountFiles } from '../../support/accounts';
import { built } from '../../support/built';

type Settings = Record<string, string>;
const PROGRAMS = ['signup', 'login', 'admin', 'enrol', 'reaper', 'attestor-daemon', 'enclave'] as const;
type ProgramName = (typeof PROGRAMS)[number];

let files: AccountFiles;
let settings: Record<ProgramName, Settings>;

const path = (name: string): string => join(files.folder, name);

beforeAll(async () => {
  // Nobody listens there: whatever would connect to it fails.
  files = await writeAccountFiles('postgres://nobody:secret-word@127.0.0.1:1/none');
  const authority = await makeAuthority('authority');
  const other = await makeAuthority('other');
  writeFileSync(path('ca.crt'), authority.certificate);
  writeFileSync(path('ca.key'), authority.privateKey);
  writeFileSync(path('other.key'), other.privateKey);
  writeFileSync(path('seal'), Buffer.alloc(32, 1));
  writeFileSync(path('short'), Buffer.alloc(8, 1));
  writeFileSync(path('wrong'), '{"keys":[{"d":"secret-word"}]}');
  writeFileSync(path('nothing'), '');
  writeFileSync(path('template'), 'apiVersion: serving.knative.dev/v1\nkind: Service\n');
  const { publicKey } = await generateKeyPair('ES256', { extractable: true });
  writeFileSync(path('launcher.json'), JSON.stringify(await exportJWK(publicKey)));
  mkdirSync(path('roots'));

  const { DATABASE_URL_FILE, TRUST_DOMAIN, LOG_KEYS_FILE } = files.settings;
  const database = { DATABASE_URL_FILE };
  const listen = { LISTEN: 'http://127.0.0.1:0' };
  const launcher = { LAUNCHER: 'process', LAUNCHER_ADDRESS: 'unix:/none' };
  settings = {
    signup: { ...files.settings, ...listen },
    login: {
      ...files.settings,
      ...listen,
      ...launcher,
      CLIENT_CA_KEY_FILE: path('ca.key'),
      CLIENT_CA_CERTIFICATE_FILE: path('ca.crt'),
    },
    admin: { ...database, ...listen, ...launcher, ADMIN_CA_FILE: path('ca.crt'), TRUST_DOMAIN, LOG_KEYS_FILE },
    enrol: {
      ...database,
      ...listen,
      TRUST_DOMAIN,
      ATTESTATION_CA_KEY_FILE: path('ca.key'),
      ATTESTATION_CA_CERTIFICATE_FILE: path('ca.crt'),
      SEAL_KEY_FILE: path('seal'),
      EK_ROOTS_DIR: path('roots'),
    },
    reaper: { ...database, KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: '1' },
    'attestor-daemon': {
      LISTEN: `unix:${path('attestor.sock')}`,
      TPM: 'device:/dev/none',
      NODE_NAME: 'node-1',
      STATE_DIR: path('attestor-state'),
      ENROL_ADDRESS: 'unix:/none',
      IDENTITY: 'process',
      LAUNCHER_KEY_FILE: path('launcher.json'),
    },
    enclave: {
      ...listen,
      ATTESTOR_ADDRESS: 'unix:/none',
      ATTESTOR_CREDENTIAL_FILE: path('credential'),
      CLIENT_CA_FILE: path('ca.crt'),
      ENCLAVE_USER: 'user-1',
      WORKSPACE_DIR: path('workspace'),
    },
  };
});
afterAll(() => files.remove());

function run(program: ProgramName, changes: Settings, args = ['--check']): { status: number | null; log: string } {
  const { status, stderr } = spawnSync(process.execPath, [built(program), ...args], {
    env: { PATH: process.env['PATH'], READY_FILE: path('ready'), ...settings[program], ...changes },
    encoding: 'utf8',
  });
  return { status, log: stderr };
}

test.each(PROGRAMS)('%s --check with right settings ends with 0, and starts nothing', (program) => {
  const { status, log } = run(program, {});
  expect(log).toContain('the settings are right');
  expect(status).toBe(0);
  for (const made of ['ready', 'attestor.sock', 'attestor-state', 'workspace'])
    expect({ made, exists: existsSync(path(made)) }).toEqual({ made, exists: false });
});

const tls = { LISTEN: 'https://127.0.0.1:0', TLS_CERTIFICATE_FILE: 'ca.crt', TLS_KEY_FILE: 'other.key' };
const knative = {
  LAUNCHER: 'knative',
  KUBERNETES_SERVICE_HOST: '127.0.0.1',
  KUBERNETES_SERVICE_PORT: '1',
  ENCLAVE_IMAGE: `enclave@sha256:${'a'.repeat(64)}`,
  ENCLAVE_TEMPLATE_FILE: 'template',
  NAME_KEY_FILE: 'seal',
};
const WRONG: [ProgramName, Settings, string][] = [
  ['signup', { TOKEN_KEYS_FILE: 'wrong' }, 'TOKEN_KEYS_FILE'],
  ['signup', { SECOND_FACTOR_KEYS_FILE: 'wrong' }, 'SECOND_FACTOR_KEYS_FILE'],
  ['signup', { DATABASE_URL_FILE: 'wrong' }, 'DATABASE_URL_FILE'],
  ['signup', tls, 'TLS_KEY_FILE'],
  ['login', { TOKEN_KEYS_FILE: 'missing' }, 'TOKEN_KEYS_FILE'],
  ['login', { CLIENT_CA_KEY_FILE: 'other.key' }, 'CLIENT_CA_KEY_FILE'],
  ['login', { TRUST_BUNDLE_FILE: 'wrong' }, 'TRUST_BUNDLE_FILE'],
  ['login', { REVOCATION_KEYS_FILE: 'wrong' }, 'REVOCATION_KEYS_FILE'],
  ['login', { LOG_KEYS_FILE: 'wrong' }, 'LOG_KEYS_FILE'],
  ['login', { ...knative, NAME_KEY_FILE: 'short' }, 'NAME_KEY_FILE'],
  ['login', { ...knative, ENCLAVE_TEMPLATE_FILE: 'missing' }, 'ENCLAVE_TEMPLATE_FILE'],
  ['login', { ...knative, ENCLAVE_TEMPLATE_FILE: 'wrong' }, 'ENCLAVE_TEMPLATE_FILE'],
  ['admin', { ADMIN_CA_FILE: 'nothing' }, 'ADMIN_CA_FILE'],
  ['admin', { LOG_KEYS_FILE: 'missing' }, 'LOG_KEYS_FILE'],
  ['admin', { LICENCE_KEYS_FILE: 'wrong' }, 'LICENCE_KEYS_FILE'],
  ['enrol', { SEAL_KEY_FILE: 'short' }, 'SEAL_KEY_FILE'],
  ['enrol', { ATTESTATION_CA_KEY_FILE: 'other.key' }, 'ATTESTATION_CA_KEY_FILE'],
  ['enrol', { EK_ROOTS_DIR: 'missing' }, 'EK_ROOTS_DIR'],
  ['enrol', { EK_HASHES_FILE: 'ca.crt' }, 'EK_HASHES_FILE'],
  ['reaper', { DATABASE_URL_FILE: 'missing' }, 'DATABASE_URL_FILE'],
  ['attestor-daemon', { LAUNCHER_KEY_FILE: 'wrong' }, 'LAUNCHER_KEY_FILE'],
  ['attestor-daemon', { ENROL_ROOTS_FILE: 'missing' }, 'ENROL_ROOTS_FILE'],
  ['attestor-daemon', { TPM_OWNER_AUTH_FILE: 'missing' }, 'TPM_OWNER_AUTH_FILE'],
  ['enclave', { CLIENT_CA_FILE: 'nothing' }, 'CLIENT_CA_FILE'],
];

test.each(WRONG)('%s --check with %j names %s and its file, and nothing that is in it', (program, changes, setting) => {
  const whole = Object.entries(changes).map(([name, value]) => [name, /_(FILE|DIR)$/.test(name) ? path(value) : value]);
  const { status, log } = run(program, Object.fromEntries(whole) as Settings);
  expect(log).toContain(`${setting} (${path(changes[setting] as string)})`);
  expect(log).toContain('config.invalid');
  expect(log).not.toContain('secret-word');
  expect(status).toBe(2);
});

test('a setting without a file, and an argument that is not known, end it with 2 as well', () => {
  const unset = run('login', { LAUNCHER: 'other' });
  expect(unset).toMatchObject({ status: 2, log: expect.stringContaining('LAUNCHER') as string });
  const argument = run('login', {}, ['--chekc']);
  expect(argument).toMatchObject({ status: 2, log: expect.stringContaining('--check') as string });
});
