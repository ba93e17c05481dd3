import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { apply, kubectl } from '../../../runtime/kubernetes/kubectl';
import { fingerprint } from '../../../attestation/trust/public-key';
import { readSignedBundle } from '../../../attestation/trust/signed-bundle';
import { imageOf, setting } from './settings';

/** What an operator installs with. */
export const INSTALLER = join(process.env['SLS_DIST'] ?? resolve(__dirname, '../../../dist'), 'cluster-install.cjs');

/** Before all tests: installs what they test, by the command that an operator uses, and leaves the trust bundle's path and its fingerprint in SLS_TRUST and SLS_TRUST_FINGERPRINT. */
export default async function install(): Promise<void> {
  await installWith(setting('SLS_IMAGES'));
}

/** @param images as in SLS_IMAGES */
export async function installWith(images: string): Promise<void> {
  const storage = await kubectl(['get', 'storageclass', '-o', 'name']);
  if (storage.trim() === '') await provideStorage();
  const folder = mkdtempSync(join(tmpdir(), 'sls-e2e-'));
  const trust = join(folder, 'sls-trust.jws');
  const args = ['--overlay', 'software-tpm', '--software-tpm', 'allow', '--trust-bundle', trust];
  for (const pair of images.split(' ')) if (!pair.startsWith('enclave-next=')) args.push('--image', pair);
  for (const file of setting('SLS_EK_ROOTS').split(':')) args.push('--ek-root', file);
  args.push(
    '--tpm-folder',
    setting('SLS_TPM_FOLDER'),
    '--node-selector',
    setting('SLS_NODE_SELECTOR', 'licensing/tpm=2.0'),
  );
  args.push('--enclave-template', smallEnclave(folder));
  const installed = spawnSync(process.execPath, [INSTALLER, ...args], { stdio: ['ignore', 'inherit', 'inherit'] });
  if (installed.status !== 0) throw new Error(`the installation failed with status ${installed.status}`);
  process.env['SLS_TRUST'] = trust;
  // Whoever installed it has no other way than this one, and needs none: it is their own.
  const { trustKey } = await readSignedBundle(readFileSync(trust, 'utf8'));
  process.env['SLS_TRUST_FINGERPRINT'] = await fingerprint(trustKey);
}

/** Runs the installer once more, as an operator would, on the installation that the cluster keeps. */
export function installer(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const trust = join(mkdtempSync(join(tmpdir(), 'sls-e2e-')), 'sls-trust.jws');
  return spawnSync(process.execPath, [INSTALLER, '--trust-bundle', trust, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
  });
}

/** The project's template with next to nothing requested: a hundred enclaves have to fit the small node of a test cluster at once. */
function smallEnclave(folder: string): string {
  const template = readFileSync(join(dirname(INSTALLER), '../knative/base/enclave.yaml'), 'utf8');
  const small = template.replace('requests: { cpu: 25m, memory: 96Mi }', 'requests: { cpu: 1m, memory: 16Mi }');
  if (small === template)
    throw new Error("expected the requests of an enclave in the project's template, found others");
  const file = join(folder, 'enclave.yaml');
  writeFileSync(file, small);
  return file;
}

/**
 * A volume for PostgreSQL where the cluster makes none by itself: a folder of the node that PostgreSQL's user may write to. Emptied first where the cluster doesn't
 * know it: what an earlier cluster left there has another password.
 */
async function provideStorage(): Promise<void> {
  if ((await kubectl(['get', 'pv', 'licensing-e2e-postgres', '--ignore-not-found', '-o', 'name'])).trim() !== '')
    return;
  const path = '/var/lib/licensing/e2e-postgres';
  const [label, value] = setting('SLS_NODE_SELECTOR', 'licensing/tpm=2.0').split('=', 2);
  const nodeSelector = { [label ?? '']: value ?? '' };
  const mount = { name: 'data', mountPath: '/data' };
  await apply([
    {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'licensing-e2e', labels: { 'pod-security.kubernetes.io/enforce': 'privileged' } },
    },
    {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: 'licensing-e2e-postgres' },
      spec: {
        capacity: { storage: '2Gi' },
        accessModes: ['ReadWriteOnce'],
        persistentVolumeReclaimPolicy: 'Retain',
        claimRef: { namespace: 'licensing', name: 'data-postgres-0' },
        hostPath: { path },
      },
    },
  ]);
  await apply([
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'storage', namespace: 'licensing-e2e' },
      spec: {
        restartPolicy: 'Never',
        nodeSelector,
        containers: [
          {
            name: 'chown',
            image: imageOf('attestor-daemon'),
            command: ['sh', '-c', 'find /data -mindepth 1 -delete && chown 999:999 /data'],
            securityContext: { runAsUser: 0 },
            volumeMounts: [mount],
          },
        ],
        volumes: [{ name: 'data', hostPath: { path, type: 'DirectoryOrCreate' } }],
      },
    },
  ]);
  await kubectl([
    'wait',
    '--for=jsonpath={.status.phase}=Succeeded',
    '--timeout=60s',
    '-n',
    'licensing-e2e',
    'pod/storage',
  ]);
}
