import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { load } from 'js-yaml';
import type { KnativeService, Pod } from '../../../../runtime/kubernetes/objects';
import { failureOf, stageOf } from '../../../../functions/login/launcher/knative-progress';
import {
  answeringPod,
  enclaveName,
  enclaveService,
  enclaveVolume,
  isCurrent,
  servingPod,
} from '../../../../functions/login/launcher/knative-service';
import { knativeSettings } from '../../../../functions/login/launcher/knative-settings';
import { LoginStage } from '../../../../proto/gen/licensing/v1/login';
import type { EnclaveId } from '../../../../attestation/evidence/enclave-name';

const template = load(readFileSync(join(__dirname, '../../../../knative/base/enclave.yaml'), 'utf8')) as KnativeService;
const IMAGE = `registry/enclave@sha256:${'a'.repeat(64)}`;
const kind = {
  namespace: 'enclaves',
  template,
  image: IMAGE,
  trustDomain: 'sls.local',
  nodeSelector: { 'licensing/tpm': '2.0' },
};
const key = Buffer.alloc(32, 7);
const NOW = new Date('2026-01-01T00:00:00Z');
const installation = '6b1f5a0e-7c1d-4b3a-9e59-3d3c7f0a2b11';
const of = (user: string, name = 'default'): EnclaveId => ({ user, name });
const make = (user = 'user-1', now = NOW, name?: string): KnativeService =>
  enclaveService(kind, { name: enclaveName(key, of(user, name)), enclave: of(user, name), installation, now });

describe('names of enclaves', () => {
  test('are DNS labels for any user id, and two ids never meet: ../, a/b, NUL, newline, A_b against a-b', () => {
    const names = new Set<string>();
    const users = ['../', 'a/b', 'a\0b', 'a\nb', 'A_b', 'a-b', 'a_b', ''];
    for (const user of users) names.add(enclaveName(key, of(user)));
    expect(names.size).toBe(users.length);
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (user) => /^enclave-[a-z2-7]{20}$/.test(enclaveName(key, of(user)))),
    );
  });

  test('differ for each name of one user, and no user and name meet those of another', () => {
    const ids = [
      of('a', 'bc'),
      of('ab', 'c'),
      of('abc', 'default'),
      of('abc'),
      of('', 'abc'),
      of('abc', ''),
      of('a', 'b'),
      of('b', 'a'),
      of('a\0b', 'c'),
      of('a', '\0bc'),
      of('a', 'default-1'),
      of('a'),
    ];
    const distinct = new Set(ids.map(({ user, name }) => JSON.stringify([user, name])));
    expect(new Set(ids.map((id) => enclaveName(key, id))).size).toBe(distinct.size);
    const pair = fc.tuple(fc.string({ unit: 'binary', maxLength: 8 }), fc.string({ maxLength: 8 }));
    fc.assert(
      fc.property(
        pair,
        pair,
        ([a, b], [c, d]) => (a === c && b === d) || enclaveName(key, of(a, b)) !== enclaveName(key, of(c, d)),
      ),
      { numRuns: 2_000 },
    );
    fc.assert(fc.property(pair, ([user, name]) => /^enclave-[a-z2-7]{20}$/.test(enclaveName(key, of(user, name)))));
  });

  test('of the default one are what they were before there were others', () => {
    expect(enclaveName(key, of('6b3c9a52-6e0e-4a3e-9df1-5c9d6f0f2a11'))).toBe('enclave-qryqm6il7uwppc6prxhx');
  });

  test('depend on the key, so that nobody else can tell one', () => {
    expect(enclaveName(Buffer.alloc(32, 8), of('user-1'))).not.toBe(enclaveName(key, of('user-1')));
  });
});

describe('the Service of an enclave', () => {
  const pod = make().spec.template.spec;
  const container = pod.containers[0]!;

  test('is at zero when unused and one pod at most', () => {
    expect(make().spec.template.metadata?.annotations).toMatchObject({
      'autoscaling.knative.dev/min-scale': '0',
      'autoscaling.knative.dev/max-scale': '1',
      'licensing/user': 'user-1',
    });
  });

  test('says whose it is and which, on itself and on its pods: that is what the attestor reads', () => {
    const service = make('user-1', NOW, 'gpu-lab');
    for (const { annotations } of [service.metadata, service.spec.template.metadata!])
      expect(annotations).toMatchObject({ 'licensing/user': 'user-1', 'licensing/enclave': 'gpu-lab' });
    expect(make().spec.template.metadata?.annotations).toMatchObject({ 'licensing/enclave': 'default' });
    expect(service.metadata.name).not.toContain('gpu');
  });

  test('keeps its files on a volume of its own where volumes are on, and nowhere else', () => {
    const name = enclaveName(key, of('user-1', 'lab'));
    const volume = { size: '10Gi', storageClass: 'fast' };
    const on = enclaveService({ ...kind, volume }, { name, enclave: of('user-1', 'lab'), installation, now: NOW });
    const workspaces = (service: KnativeService): object[] =>
      (service.spec.template.spec['volumes'] as Array<{ name: string }>).filter((each) => each.name === 'workspace');
    expect(workspaces(on)).toEqual([{ name: 'workspace', persistentVolumeClaim: { claimName: name } }]);
    expect(workspaces(make())).toEqual([{ name: 'workspace', emptyDir: { sizeLimit: '1Gi' } }]);
    expect(enclaveVolume({ ...kind, volume }, { name, enclave: of('user-1', 'lab'), installation })).toMatchObject({
      metadata: {
        name,
        labels: { 'app.kubernetes.io/component': 'enclave' },
        annotations: {
          'licensing/user': 'user-1',
          'licensing/enclave': 'lab',
          'licensing/installation': installation,
        },
      },
      spec: { accessModes: ['ReadWriteOnce'], storageClassName: 'fast', resources: { requests: { storage: '10Gi' } } },
    });
    expect(
      enclaveVolume({ ...kind, volume: { size: '1Gi' } }, { name, enclave: of('user-1'), installation }).spec,
    ).not.toHaveProperty('storageClassName');
  });

  test('a size of volumes that is no quantity is no setting', () => {
    const base = { ENCLAVE_TEMPLATE_FILE: 't', NAME_KEY_FILE: 'k', TRUST_DOMAIN: 'sls.local', ENCLAVE_IMAGE: IMAGE };
    for (const size of ['', 'big', '-1Gi', '0', '1 Gi'])
      expect(knativeSettings.safeParse({ ...base, ENCLAVE_VOLUME_SIZE: size }).success).toBe(false);
    for (const size of ['10Gi', '500M', '1.5Ti'])
      expect(knativeSettings.safeParse({ ...base, ENCLAVE_VOLUME_SIZE: size }).success).toBe(true);
  });

  test('mounts no token but the one for the attestor', () => {
    expect(pod.automountServiceAccountToken).toBe(false);
    const tokens = JSON.stringify(pod.volumes).match(/serviceAccountToken/g);
    expect(tokens).toHaveLength(1);
    expect(JSON.stringify(pod.volumes)).toContain('"audience":"attestor"');
  });

  test('meets the restricted Pod Security Standard, has limits and no service links', () => {
    expect(container.securityContext).toEqual({
      runAsNonRoot: true,
      readOnlyRootFilesystem: true,
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      seccompProfile: { type: 'RuntimeDefault' },
    });
    expect(pod.enableServiceLinks).toBe(false);
    expect(container.resources).toHaveProperty('limits.memory');
  });

  test('takes user, image, trust domain and node selector from login, whatever the template says', () => {
    const hostile = structuredClone(template);
    hostile.spec.template.metadata = {
      annotations: { 'licensing/user': 'victim', 'autoscaling.knative.dev/min-scale': '5' },
    };
    hostile.spec.template.spec.containers[0]!.env!.push({ name: 'ENCLAVE_USER', value: 'victim' });
    const service = enclaveService(
      { ...kind, template: hostile, runtimeClass: 'gvisor' },
      { name: 'n', enclave: of('user-1'), installation, now: NOW },
    );
    expect(JSON.stringify(service)).not.toContain('victim');
    expect(service.metadata.annotations).toMatchObject({ 'licensing/installation': installation });
    expect(service.spec.template.metadata?.annotations?.['autoscaling.knative.dev/min-scale']).toBe('0');
    const { containers, nodeSelector, runtimeClassName } = service.spec.template.spec;
    expect(containers[0]).toMatchObject({ image: IMAGE });
    expect(containers[0]?.env).toContainEqual({ name: 'TRUST_DOMAIN', value: 'sls.local' });
    expect({ nodeSelector, runtimeClassName }).toEqual({
      nodeSelector: { 'licensing/tpm': '2.0' },
      runtimeClassName: 'gvisor',
    });
  });

  test('is applied again when the image or the template changes, or its last use was written down long ago', () => {
    const found = make();
    expect(isCurrent(found, make('user-1', new Date('2026-01-01T00:30:00Z')), new Date('2026-01-01T00:30:00Z'))).toBe(
      true,
    );
    expect(isCurrent(found, make(), new Date('2026-01-01T02:00:00Z'))).toBe(false);
    expect(isCurrent(undefined, make(), NOW)).toBe(false);
    const other = enclaveService(
      { ...kind, image: IMAGE.replace('a', 'b') },
      { name: found.metadata.name, enclave: of('user-1'), installation, now: NOW },
    );
    expect(isCurrent(found, other, NOW)).toBe(false);
    found.metadata.deletionTimestamp = '2026-01-01T00:00:00Z';
    expect(isCurrent(found, make(), NOW)).toBe(false);
  });

  test('an image by tag is no setting: a tag can be moved to another image', () => {
    const base = { ENCLAVE_TEMPLATE_FILE: 't', NAME_KEY_FILE: 'k', TRUST_DOMAIN: 'sls.local' };
    expect(knativeSettings.safeParse({ ...base, ENCLAVE_IMAGE: 'registry/enclave:latest' }).success).toBe(false);
    expect(
      knativeSettings.safeParse({ ...base, ENCLAVE_IMAGE: IMAGE, ENCLAVE_NODE_SELECTOR: 'a=b,c=' }).data
        ?.ENCLAVE_NODE_SELECTOR,
    ).toEqual({ a: 'b', c: '' });
  });
});

describe('what a starting enclave waits for', () => {
  const pod = (change: Partial<NonNullable<Pod['status']>>, metadata = {}): Pod => ({
    metadata: {
      name: 'p',
      creationTimestamp: NOW.toISOString(),
      labels: { 'serving.knative.dev/revision': 'r1' },
      ...metadata,
    },
    status: { conditions: [{ type: 'PodScheduled', status: 'True' }], ...change },
  });
  const waiting = (reason: string): Pod =>
    pod({ containerStatuses: [{ name: 'user-container', state: { waiting: { reason } } }] });
  const later = new Date(NOW.getTime() + 5_000);

  test('is told from its pod', () => {
    expect(stageOf(pod({ conditions: [] }), NOW)).toBeUndefined();
    expect(stageOf(waiting('ContainerCreating'), NOW)).toBe(LoginStage.LOGIN_STAGE_SCHEDULED);
    expect(stageOf(waiting('ContainerCreating'), later)).toBe(LoginStage.LOGIN_STAGE_PULLING);
    expect(stageOf(pod({ containerStatuses: [{ name: 'user-container', state: { running: {} } }] }), later)).toBe(
      LoginStage.LOGIN_STAGE_STARTING,
    );
  });

  test('is a failure when it is an image, a node, a quota or a crash', () => {
    expect(failureOf(undefined, [waiting('ImagePullBackOff')])).toMatchObject({ code: 'enclave_image', waits: false });
    expect(failureOf(undefined, [waiting('CrashLoopBackOff')])).toMatchObject({
      code: 'enclave_crashes',
      waits: false,
    });
    expect(
      failureOf(undefined, [pod({ conditions: [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable' }] })]),
    ).toMatchObject({ code: 'no_node', waits: true });
    const unbound = {
      type: 'PodScheduled',
      status: 'False',
      reason: 'Unschedulable',
      message: '0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims',
    };
    expect(failureOf(undefined, [pod({ conditions: [unbound] })])).toMatchObject({ code: 'no_volume', waits: true });
    expect(failureOf(undefined, [waiting('ContainerCreating')])).toBeUndefined();
    const service = make();
    service.metadata.generation = 1;
    service.status = {
      observedGeneration: 1,
      conditions: [
        { type: 'ConfigurationsReady', status: 'False', message: 'pods "x" is forbidden: exceeded quota: q' },
      ],
    };
    const failure = failureOf(service, []);
    expect(failure).toMatchObject({ code: 'quota', waits: false });
    expect(failure?.message).not.toContain('q,');
  });

  test('ends with a ready pod of the revision that serves, not with one that is ending', () => {
    const service = make();
    service.status = { latestReadyRevisionName: 'r1' };
    const ready = { conditions: [{ type: 'Ready', status: 'True' }] };
    expect(servingPod(service, [pod(ready)])).toBeDefined();
    expect(servingPod(service, [pod(ready, { deletionTimestamp: 'now' })])).toBeUndefined();
    expect(servingPod(service, [pod(ready, { labels: { 'serving.knative.dev/revision': 'r0' } })])).toBeUndefined();
    expect(servingPod(service, [pod({})])).toBeUndefined();
  });

  test('ends with a pod that answered before the kubelet calls it ready, unless it could have been another one', () => {
    const service = make();
    service.status = { latestReadyRevisionName: 'r1' };
    const started = { podIP: '10.0.0.9' };
    expect(answeringPod(service, [pod(started)])).toBeDefined();
    expect(answeringPod(service, [pod({})])).toBeUndefined();
    expect(answeringPod(service, [pod(started), pod(started)])).toBeUndefined();
    expect(answeringPod(service, [pod(started, { deletionTimestamp: 'now' })])).toBeUndefined();
    expect(answeringPod(service, [pod(started, { labels: { 'serving.knative.dev/revision': 'r0' } })])).toBeUndefined();
  });
});
