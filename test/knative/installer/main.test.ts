import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { built } from '../../support/built';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sls-installer-'));
  writeFileSync(join(folder, 'empty.yaml'), 'apiVersion: licensing/v1\n');
  // A cluster that nobody answers for.
  const clusters = [{ name: 'a', cluster: { server: 'https://127.0.0.1:1' } }];
  const users = [{ name: 'a', user: { token: 'x' } }];
  const contexts = [{ name: 'a', context: { cluster: 'a', user: 'a' } }];
  const config = { apiVersion: 'v1', kind: 'Config', clusters, users, contexts, 'current-context': 'a' };
  writeFileSync(join(folder, 'kubeconfig'), JSON.stringify(config));
  writeFileSync(join(folder, 'no-context'), JSON.stringify({ ...config, 'current-context': 'b' }));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** @param kubeconfig a file of the folder's; none: HOME has none either */
function install(args: string[], kubeconfig?: string): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [built('cluster-install'), ...args], {
    cwd: folder,
    env: { PATH: process.env['PATH'], HOME: folder, ...(kubeconfig && { KUBECONFIG: join(folder, kubeconfig) }) },
    encoding: 'utf8',
  });
  return { status, stdout, stderr: stderr.replaceAll(folder, '~') };
}

const CHECK_A_FILE = ['--check', '--overlay', 'software-tpm'];

test.each<[string, string[], string | undefined, string]>([
  [
    'no kubeconfig, and no word of what to install',
    ['--check'],
    undefined,
    'expected a kubeconfig at ~/.kube/config, or named by KUBECONFIG, got none',
  ],
  [
    'no kubeconfig',
    CHECK_A_FILE,
    undefined,
    'expected a kubeconfig at ~/.kube/config, or named by KUBECONFIG, got none',
  ],
  [
    'a kubeconfig that is not there',
    CHECK_A_FILE,
    'absent',
    'expected a kubeconfig in KUBECONFIG, got ~/absent, where there is none',
  ],
  [
    'a kubeconfig whose context is none of its own',
    CHECK_A_FILE,
    'no-context',
    "expected the kubeconfig's current context to name a cluster, got b",
  ],
  [
    'no overlay',
    ['--check'],
    'kubeconfig',
    "this can't be installed: overlay: expected the name of a folder in knative/overlays, got none: --overlay software-tpm",
  ],
  [
    'a file without an overlay',
    ['--check', '--file', 'empty.yaml'],
    undefined,
    "this can't be installed: overlay: expected the name of a folder in knative/overlays, got none: --overlay software-tpm",
  ],
  [
    'an overlay that is none',
    ['--check', '--overlay', 'hardware'],
    undefined,
    'overlay: expected external-postgres, hardware-tpm, software-tpm, got hardware',
  ],
  [
    'a file that is not there',
    ['--check', '--file', 'absent.yaml'],
    undefined,
    '--file: expected a file that can be read, got absent.yaml (ENOENT)',
  ],
  [
    'a root that is not there',
    [...CHECK_A_FILE, '--ek-root', 'absent.pem'],
    undefined,
    '--ek-root: expected a file that can be read, got absent.pem (ENOENT)',
  ],
  [
    'a template that is a folder',
    [...CHECK_A_FILE, '--enclave-template', '.'],
    undefined,
    '--enclave-template: expected a file that can be read, got . (EISDIR)',
  ],
])('%s is said in a sentence, before anything is asked or changed', (_, args, kubeconfig, message) => {
  expect(install(args, kubeconfig)).toEqual({ status: 2, stdout: '', stderr: `install: ${message}\n` });
});

test('images that are missing are named with the flag that gives each', () => {
  const { status, stderr } = install([
    '--print',
    '--file',
    'empty.yaml',
    '--image',
    `login=login@sha256:${'0'.repeat(64)}`,
  ]);
  expect(status).toBe(2);
  expect(stderr).toContain('images.signup: expected REPOSITORY@sha256:HEX, got none: --image signup=REFERENCE; ');
  expect(stderr).not.toContain('images.login');
});

test('what kubectl says is told without what its library logs', () => {
  const { status, stderr } = install(['--show'], 'kubeconfig');
  expect(status).toBe(1);
  expect(stderr).toMatch(/^install: The connection to the server 127\.0\.0\.1:1 was refused[^\n]*\n$/);
});
