import { steps } from '../../../knative/installer/plan';
import type { KubernetesObject } from '../../../knative/installer/plan';

const login = (env: object[], noted: object = {}): KubernetesObject => ({
  apiVersion: 'serving.knative.dev/v1',
  kind: 'Service',
  metadata: { name: 'login', namespace: 'licensing', ...noted },
  spec: { template: { spec: { containers: [{ image: 'x', env }] } } },
});
const seats = (value: string): object => ({ name: 'DEFAULT_SEATS', value });
const roots = (data: object, kind = 'ConfigMap'): KubernetesObject => ({
  apiVersion: 'v1',
  kind,
  metadata: { name: 'ek-roots', namespace: 'licensing' },
  data,
});

test('a plan names what is new and what changes, by the field', () => {
  const wanted = [login([seats('3'), { name: 'LOG_LEVEL', value: 'debug' }]), roots({ a: '1' })];
  expect(steps(wanted, [login([{ name: 'OLD', value: '1' }, seats('16')])], wanted)).toEqual([
    {
      action: 'change',
      object: 'Service licensing/login',
      changes: [
        { field: '.spec.template.spec.containers[0].env[OLD]', from: '{"name":"OLD","value":"1"}', to: undefined },
        { field: '.spec.template.spec.containers[0].env[DEFAULT_SEATS].value', from: '"16"', to: '"3"' },
        {
          field: '.spec.template.spec.containers[0].env[LOG_LEVEL]',
          from: undefined,
          to: expect.stringContaining('debug'),
        },
      ],
    },
    { action: 'create', object: 'ConfigMap licensing/ek-roots', changes: [] },
  ]);
});

test('what the API server notes about an object is no change', () => {
  const live = login([], { uid: '1', resourceVersion: '7', annotations: { 'serving.knative.dev/creator': 'x' } });
  const next = login([], { uid: '1', resourceVersion: '8', annotations: { 'serving.knative.dev/creator': 'y' } });
  expect(steps([login([])], [{ ...live, status: { ready: false } }], [{ ...next, status: { ready: true } }])).toEqual(
    [],
  );
});

test('a core Service and a Knative Service of one name are two objects', () => {
  const core = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'login', namespace: 'licensing' } };
  expect(steps([login([])], [core], [login([])])).toMatchObject([{ action: 'create' }]);
});

test('no value of a Secret is shown, and a long one is cut', () => {
  const secret = (value: string): KubernetesObject => roots({ key: value }, 'Secret');
  expect(steps([secret('b')], [secret('a')], [secret('b')])).toEqual([
    { action: 'change', object: 'Secret licensing/ek-roots', changes: [] },
  ]);
  const [step] = steps([roots({ a: 'y' })], [roots({ a: 'x'.repeat(1_000) })], [roots({ a: 'y' })]);
  expect(step?.changes).toEqual([{ field: '.data.a', from: `"${'x'.repeat(119)}…`, to: '"y"' }]);
});
