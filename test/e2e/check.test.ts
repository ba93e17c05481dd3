import { waitUntilReady } from '../../knative/installer/waiting';
import { KubernetesApi } from '../../runtime/kubernetes/api';
import { kubectl } from './support/cluster';
import { installer } from './support/install';

const NAME = 'licensing-check-waiting';

test('--check looks at each thing of a real cluster, one line each, and can look at all of them', () => {
  const { stdout } = installer('--check');
  const lines = stdout.trim().split('\n');
  expect(lines.map((line) => line.slice(9, 23).trim())).toEqual([
    'cluster',
    'clocks',
    'Knative',
    'features',
    'ingress',
    'TLS',
    'domain',
    'cluster DNS',
    'network',
    'storage class',
    'TPM nodes',
    'TPM devices',
  ]);
  expect(lines.filter((line) => line.includes('not checked:'))).toEqual([]);
  // This installation runs.
  for (const about of ['clocks', 'Knative', 'features', 'TPM nodes'])
    expect(lines.find((line) => line.includes(about))).toMatch(/^ok /);
});

test('a claim whose storage class is not there is named while it is waited for', async () => {
  const workload = {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: { name: NAME, namespace: 'default' },
    spec: {
      serviceName: NAME,
      selector: { matchLabels: { app: NAME } },
      template: {
        metadata: { labels: { app: NAME } },
        spec: {
          containers: [
            { name: 'none', image: 'licensing.invalid/none', volumeMounts: [{ name: 'data', mountPath: '/data' }] },
          ],
        },
      },
      volumeClaimTemplates: [
        {
          metadata: { name: 'data' },
          spec: {
            accessModes: ['ReadWriteOnce'],
            storageClassName: 'there-is-none',
            resources: { requests: { storage: '1Mi' } },
          },
        },
      ],
    },
  };
  await kubectl(['apply', '-f', '-'], JSON.stringify(workload));
  try {
    const said: string[] = [];
    const part = { kind: 'StatefulSet', namespace: 'default', name: NAME } as const;
    const options = { timeoutMs: 20_000, say: (line: string) => said.push(line) };
    await expect(waitUntilReady(await KubernetesApi.ofUser(), [part], options)).rejects.toMatchObject({
      code: 'install.not_ready',
      message: expect.stringContaining(`PersistentVolumeClaim data-${NAME}-0, which is Pending`) as string,
    });
    expect(said.join('\n')).toContain('there-is-none');
  } finally {
    await kubectl(['delete', 'statefulset', NAME, '-n', 'default', '--ignore-not-found']);
    await kubectl(['delete', 'persistentvolumeclaim', `data-${NAME}-0`, '-n', 'default', '--ignore-not-found']);
  }
});
