import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadAll } from 'js-yaml';
import { mountsOf } from '../../../knative/installer/template';

const base = (file: string): string => readFileSync(join(__dirname, '../../../knative/base', file), 'utf8');

test("the admission policy of the manifests lets login mount what the project's template mounts", () => {
  const objects = loadAll(base('admission.yaml')) as Array<{ kind: string; data?: Record<string, string> }>;
  const { data } = objects.find(({ kind }) => kind === 'ConfigMap')!;
  expect(mountsOf(base('enclave.yaml'))).toEqual({
    claims: data?.['claims'],
    configMaps: data?.['configMaps'],
    secrets: data?.['secrets'],
  });
});

test('whatever a template of an operator names is found', () => {
  const pod = {
    containers: [
      {
        env: [
          { name: 'A', value: '1' },
          { name: 'B', valueFrom: { secretKeyRef: { name: 's1', key: 'x' } } },
          { name: 'C', valueFrom: { configMapKeyRef: { name: 'c1', key: 'x' } } },
        ],
        envFrom: [{ secretRef: { name: 's2' } }, { configMapRef: { name: 'c2' } }],
      },
    ],
    volumes: [
      { name: 'a', persistentVolumeClaim: { claimName: 'data' } },
      { name: 'b', persistentVolumeClaim: { claimName: 'models', readOnly: true } },
      { name: 'c', secret: { secretName: 's3' } },
      { name: 'd', configMap: { name: 'c1' } },
      { name: 'e', projected: { sources: [{ secret: { name: 's4' } }, { configMap: { name: 'c3' } }] } },
      { name: 'f', emptyDir: {} },
    ],
  };
  expect(mountsOf(JSON.stringify({ spec: { template: { spec: pod } } }))).toEqual({
    claims: 'data models:ro',
    configMaps: 'c1 c2 c3',
    secrets: 's1 s2 s3 s4',
  });
});
