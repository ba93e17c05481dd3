import { apply, kubectl } from './cluster';
import { imageOf, setting } from './settings';

const [label, value] = setting('SLS_NODE_SELECTOR', 'licensing/tpm=2.0').split('=', 2);

/** Runs a shell command as root in a folder of a node with a TPM. */
export async function onNode(folder: string, command: string): Promise<void> {
  const place = ['-n', 'licensing-e2e'];
  await apply([
    {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'licensing-e2e', labels: { 'pod-security.kubernetes.io/enforce': 'privileged' } },
    },
  ]);
  await kubectl(['delete', 'pod', 'on-node', ...place, '--ignore-not-found', '--grace-period=0', '--force']);
  await apply([
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'on-node', namespace: 'licensing-e2e' },
      spec: {
        restartPolicy: 'Never',
        nodeSelector: { [label ?? '']: value ?? '' },
        containers: [
          {
            name: 'shell',
            image: imageOf('attestor-daemon'),
            command: ['sh', '-c', command],
            workingDir: '/folder',
            securityContext: { runAsUser: 0 },
            volumeMounts: [{ name: 'folder', mountPath: '/folder' }],
          },
        ],
        volumes: [{ name: 'folder', hostPath: { path: folder, type: 'Directory' } }],
      },
    },
  ]);
  await kubectl(['wait', '--for=jsonpath={.status.phase}=Succeeded', '--timeout=60s', ...place, 'pod/on-node']);
}
