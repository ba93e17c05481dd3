import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { load } from 'js-yaml';
import type { KnativeService } from '../../../../runtime/kubernetes/objects';
import { parseQuantity } from '../../../../runtime/kubernetes/quantity';
import { enclaveService, isCurrent } from '../../../../functions/login/launcher/knative-service';
import { DEFAULT_ENCLAVE } from '../../../../attestation/evidence/enclave-name';

const template = load(readFileSync(join(__dirname, '../../../../knative/base/enclave.yaml'), 'utf8')) as KnativeService;
const kind = {
  namespace: 'enclaves',
  template,
  image: `registry/enclave@sha256:${'a'.repeat(64)}`,
  trustDomain: 'sls.local',
};
const NOW = new Date('2026-01-01T00:00:00Z');

describe("a licence's plan", () => {
  const id = { user: 'user-1', name: DEFAULT_ENCLAVE };
  const resourcesOf = (plan: object | undefined, from = template): unknown =>
    enclaveService({ ...kind, template: from }, { name: 'n', enclave: id, installation: 'any', now: NOW, plan }).spec
      .template.spec.containers[0]!.resources;

  test("sets the limits of the enclave, in place of the template's", () => {
    expect(resourcesOf({ cpu: '4', memory: '8Gi' })).toEqual({
      requests: { cpu: '25m', memory: '96Mi' },
      limits: { cpu: '4', memory: '8Gi' },
    });
    expect(resourcesOf({ memory: '1G' })).toEqual({
      requests: { cpu: '25m', memory: '96Mi' },
      limits: { cpu: '1', memory: '1G' },
    });
  });

  test('lowers requests that would be above their limit, which Kubernetes refuses', () => {
    expect(resourcesOf({ cpu: '10m', memory: '64Mi' })).toEqual({
      requests: { cpu: '10m', memory: '64Mi' },
      limits: { cpu: '10m', memory: '64Mi' },
    });
  });

  test('keeps what it says nothing about, also where the template has no resources or numbers for them', () => {
    const bare = structuredClone(template);
    bare.spec.template.spec.containers[0]!.resources = {
      limits: { 'ephemeral-storage': '1Gi', cpu: 2 },
      requests: { cpu: 1 },
    };
    expect(resourcesOf({ cpu: '0.5' }, bare)).toEqual({
      requests: { cpu: '0.5' },
      limits: { 'ephemeral-storage': '1Gi', cpu: '0.5' },
    });
    delete bare.spec.template.spec.containers[0]!.resources;
    expect(resourcesOf({ cpu: '0.5' }, bare)).toEqual({ requests: {}, limits: { cpu: '0.5' } });
    expect(resourcesOf(undefined)).toEqual(template.spec.template.spec.containers[0]!.resources);
  });

  test('that changed is applied at the next login', () => {
    const at = (plan?: object) => enclaveService(kind, { name: 'n', enclave: id, installation: 'any', now: NOW, plan });
    expect(isCurrent(at({ cpu: '1' }), at({ cpu: '1' }), NOW)).toBe(true);
    expect(isCurrent(at({ cpu: '1' }), at({ cpu: '2' }), NOW)).toBe(false);
    expect(isCurrent(at(), at({ cpu: '2' }), NOW)).toBe(false);
    // Seats and images change nothing about an enclave.
    expect(isCurrent(at(), at({ seats: 3, images: ['x'] }), NOW)).toBe(true);
  });
});

test.each([
  ['500m', 0.5],
  ['2', 2],
  ['0.5', 0.5],
  ['1Ki', 1024],
  ['96Mi', 96 * 1024 ** 2],
  ['1.5G', 1.5e9],
  ['x', NaN],
  ['1Zi', NaN],
])('the quantity %s is %d', (text, number) => {
  expect(parseQuantity(text)).toBe(number);
});
