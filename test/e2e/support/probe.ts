import { join } from 'node:path';
import { build } from 'esbuild';
import { apply, kubectl } from './cluster';
import { imageOf, setting } from './settings';

const NAMESPACE = 'licensing-e2e';

export interface Answer {
  code?: string;
  claims?: { user: string; workloadUid: string; imageDigest: string; node: string };
}

/** A pod of the attacker's on the attestor's node, with the attestor's socket folder: more than any enclave has. */
export async function startProbe(): Promise<void> {
  const { outputFiles } = await build({
    entryPoints: [join(__dirname, 'probe-program.ts')],
    bundle: true,
    minify: true,
    write: false,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    logLevel: 'silent',
  });
  const [label, value] = setting('SLS_NODE_SELECTOR', 'licensing/tpm=2.0').split('=', 2);
  await apply([
    {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: NAMESPACE, labels: { 'pod-security.kubernetes.io/enforce': 'privileged' } },
    },
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'probe', namespace: NAMESPACE },
      data: { 'probe.cjs': outputFiles[0]?.text ?? '' },
    },
  ]);
  await apply([
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'probe', namespace: NAMESPACE },
      spec: {
        nodeSelector: { [label ?? '']: value ?? '' },
        terminationGracePeriodSeconds: 0,
        containers: [
          {
            name: 'probe',
            image: imageOf('enclave'),
            command: ['sleep', '86400'],
            volumeMounts: [
              { name: 'probe', mountPath: '/probe' },
              { name: 'socket', mountPath: '/run/attestor' },
            ],
          },
        ],
        volumes: [
          { name: 'probe', configMap: { name: 'probe' } },
          { name: 'socket', hostPath: { path: '/run/licensing/attestor' } },
        ],
      },
    },
  ]);
  await kubectl(['wait', '--for=condition=Ready', '--timeout=60s', '-n', NAMESPACE, 'pod/probe']);
}

/** What the attestor answers to whoever holds the token. `certificate` is DER: what a real enclave would have made. */
export async function askAttestor(token: string, certificate: Buffer): Promise<Answer> {
  const command = ['node', '/probe/probe.cjs', 'unix:/run/attestor/attestor.sock', certificate.toString('base64')];
  return JSON.parse(await kubectl(['exec', '-i', '-n', NAMESPACE, 'probe', '--', ...command], token)) as Answer;
}

export const stopProbe = (): Promise<string> =>
  kubectl(['delete', 'pod', 'probe', '-n', NAMESPACE, '--ignore-not-found']);
