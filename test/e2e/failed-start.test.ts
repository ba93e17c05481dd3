import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { load } from 'js-yaml';
import type { KubernetesApi } from '../../runtime/kubernetes/api';
import type { KnativeService } from '../../runtime/kubernetes/objects';
import { KnativeLauncher } from '../../functions/login/launcher/knative';
import type { KnativeLauncherOptions } from '../../functions/login/launcher/knative';
import { apiOf, apply, enclavePods, enclaves, ENCLAVES, eventually, kubectl, SERVICES } from './support/cluster';
import { digestOf, imageOf, setting } from './support/settings';

const [label = '', value = ''] = setting('SLS_NODE_SELECTOR', 'licensing/tpm=2.0').split('=', 2);
const MISSING = `sha256:${'0'.repeat(64)}`;
const NOWHERE = { [label]: value, 'licensing.test/nowhere': 'true' };
let api: KubernetesApi;

/** login's launcher with login's own rights, and one thing wrong. */
function launcher(
  kind: Partial<KnativeLauncherOptions['kind']>,
  times: Partial<KnativeLauncherOptions> = {},
): KnativeLauncher {
  return new KnativeLauncher({
    api,
    kind: {
      namespace: ENCLAVES,
      template: load(readFileSync(join(__dirname, '../../knative/base/enclave.yaml'), 'utf8')) as KnativeService,
      image: imageOf('enclave'),
      trustDomain: 'sls.local',
      nodeSelector: { [label]: value },
      ...kind,
    },
    nameKey: Buffer.alloc(32, 1),
    installation: () => Promise.resolve('e2e'),
    startMs: 60_000,
    scheduleMs: 3_000,
    ...times,
  });
}

async function refusal(broken: KnativeLauncher): Promise<{ error: unknown; user: string; stages: number[] }> {
  const user = randomUUID();
  const stages: number[] = [];
  const error = await broken
    .ensure({ user, name: 'default' }, { onStage: (stage) => stages.push(stage), signal: new AbortController().signal })
    .catch((cause: unknown) => cause);
  return { error, user, stages };
}

async function nothingIsLeft(user: string): Promise<void> {
  await eventually(
    'nothing left behind',
    async () => (await enclaves(user)).length === 0 && (await enclavePods(user)).length === 0,
    90,
  );
}

const POLICY = ['configmap', 'enclave-policy', '-n', SERVICES];
const permit = (digests: string): Promise<string> =>
  kubectl(['patch', ...POLICY, '--type', 'merge', '-p', JSON.stringify({ data: { digests } })]);
let digests: string;
beforeAll(async () => {
  api = await apiOf(SERVICES, 'login');
  // An operator's mistakes, not login's: the admission policy lets none of login's through.
  digests = await kubectl(['get', ...POLICY, '-o', 'jsonpath={.data.digests}']);
  await permit(`${digests} ${MISSING} ${digestOf('signup')}`);
});
afterAll(() => permit(digests));

test("an image that is not the installation's is refused by the API server, and leaves nothing behind", async () => {
  const other = imageOf('enclave').replace(/@.*$/, `@sha256:${'1'.repeat(64)}`);
  const { error, user } = await refusal(launcher({ image: other }));
  expect(error).toMatchObject({ code: 'login.enclave_unavailable', grpcStatus: status.UNAVAILABLE });
  await nothingIsLeft(user);
});

test('an image that is missing reaches the user as a clear error, and leaves nothing behind', async () => {
  const missing = imageOf('enclave').replace(/@.*$/, `@${MISSING}`);
  const { error, user } = await refusal(launcher({ image: missing }));
  expect(error).toMatchObject({ name: 'RpcError', code: 'login.enclave_image', grpcStatus: status.UNAVAILABLE });
  expect(String(error)).not.toContain('sha256');
  await nothingIsLeft(user);
});

test('no node with a TPM: a clear error in seconds, and nothing left behind', async () => {
  const begin = Date.now();
  const { error, user } = await refusal(launcher({ nodeSelector: NOWHERE }));
  expect(error).toMatchObject({ code: 'login.no_node', grpcStatus: status.UNAVAILABLE });
  expect(Date.now() - begin).toBeLessThan(30_000);
  await nothingIsLeft(user);
});

test('a start that takes too long ends at its deadline, and leaves nothing behind', async () => {
  const { error, user } = await refusal(launcher({ nodeSelector: NOWHERE }, { startMs: 4_000, scheduleMs: Infinity }));
  expect(error).toMatchObject({ code: 'login.enclave_timeout', grpcStatus: status.UNAVAILABLE });
  await nothingIsLeft(user);
});

describe('with a quota that is used up', () => {
  beforeAll(() =>
    apply([
      {
        apiVersion: 'v1',
        kind: 'ResourceQuota',
        metadata: { name: 'e2e', namespace: ENCLAVES },
        spec: { hard: { pods: '0' } },
      },
    ]),
  );
  afterAll(() => kubectl(['delete', 'resourcequota', 'e2e', '-n', ENCLAVES]));

  test('the user is told so, and nothing is left behind', async () => {
    const { error, user } = await refusal(launcher({}));
    expect(error).toMatchObject({ code: 'login.quota', grpcStatus: status.RESOURCE_EXHAUSTED });
    await nothingIsLeft(user);
  });
});

test('an enclave that ends as soon as it starts is told from one that is slow', async () => {
  const { error, user } = await refusal(launcher({ image: imageOf('signup') }));
  expect(error).toMatchObject({ code: 'login.enclave_crashes' });
  await nothingIsLeft(user);
});
