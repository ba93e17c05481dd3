import { join, resolve } from 'node:path';
import { readFileSync } from 'node:fs';
import { build } from 'esbuild';
import { callUnary } from '../../runtime/rpc/client';
import { channelCredentials, grpcTarget, parseAddress } from '../../runtime/rpc/address';
import { apply, kubectl } from '../../runtime/kubernetes/kubectl';
import type { List, Pod } from '../../runtime/kubernetes/objects';
import { HealthClient } from '../../proto/gen/grpc/health/v1/health';
import { readTrustedBundle, signUp } from '../../client/index';
import type { TrustBundle } from '../../client/index';
import { forgetLimits } from '../../test/e2e/support/cluster';
import install from '../../test/e2e/support/install';
import { PASSWORD } from '../../test/support/machine';
import { imageOf, setting } from '../../test/e2e/support/settings';

const HELLO = 'licensing-bench';
export const ENCLAVES = 'licensing-enclaves';
export const PLAINTEXT = { allowPlaintext: true };

/** Installs what is measured, as the tests do. @returns what clients pin */
export async function installed(): Promise<TrustBundle> {
  await install();
  await forgetLimits();
  return readTrustedBundle(readFileSync(setting('SLS_TRUST'), 'utf8'), setting('SLS_TRUST_FINGERPRINT'));
}

/** A user whose first access token is at hand. */
export interface User {
  username: string;
  accessToken: string;
}

export async function newUser(trust: TrustBundle): Promise<User> {
  const username = `bench-${Math.random().toString(36).slice(2, 12)}`;
  const { accessToken } = await signUp(trust, { username, password: PASSWORD }, PLAINTEXT);
  return { username, accessToken };
}

/** The plain service's program, for all its copies. */
export async function prepareHello(): Promise<void> {
  const { outputFiles } = await build({
    entryPoints: [join(resolve('.'), 'bench/cluster/hello.ts')],
    bundle: true,
    minify: true,
    write: false,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    logLevel: 'silent',
  });
  await apply([
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: HELLO } },
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'hello', namespace: HELLO },
      data: { 'hello.cjs': outputFiles[0]?.text ?? '' },
    },
  ]);
}

/** `kubectl apply` of a plain Knative Service until it is Ready. @returns its address */
export async function startHello(name: string): Promise<string> {
  const service = {
    apiVersion: 'serving.knative.dev/v1',
    kind: 'Service',
    metadata: { name, namespace: HELLO },
    spec: {
      template: {
        metadata: {
          annotations: { 'autoscaling.knative.dev/max-scale': '1', 'autoscaling.knative.dev/window': '60s' },
        },
        spec: {
          enableServiceLinks: false,
          containers: [
            {
              image: imageOf('signup'),
              command: ['node', '/hello/hello.cjs'],
              ports: [{ name: 'h2c', containerPort: 8080 }],
              readinessProbe: { grpc: { port: 8080 } },
              resources: { requests: { cpu: '25m', memory: '96Mi' }, limits: { cpu: '1', memory: '512Mi' } },
              volumeMounts: [{ name: 'hello', mountPath: '/hello' }],
            },
          ],
          volumes: [{ name: 'hello', configMap: { name: 'hello' } }],
        },
      },
    },
  };
  await kubectl(['apply', '-f', '-'], JSON.stringify(service));
  await kubectl(['wait', '--for=condition=Ready', '--timeout=180s', '-n', HELLO, `ksvc/${name}`]);
  return (await kubectl(['get', 'ksvc', name, '-n', HELLO, '-o', 'jsonpath={.status.url}'])).trim();
}

/** One request, whatever has to start for it. */
export async function callHello(url: string): Promise<void> {
  const address = parseAddress(url);
  const client = new HealthClient(grpcTarget(address), channelCredentials(address));
  try {
    await callUnary(client, client.check, { service: '' }, { timeout: 120_000 });
  } finally {
    client.close();
  }
}

export const removeHello = (): Promise<string> =>
  kubectl(['delete', 'namespace', HELLO, '--ignore-not-found', '--wait=false']);

async function podsOf(namespace: string): Promise<Pod[]> {
  return (JSON.parse(await kubectl(['get', 'pods', '-n', namespace, '-o', 'json'])) as List<Pod>).items;
}

/** Waits until no pod is left in the namespaces of enclaves and plain services. @returns milliseconds that it took */
export async function allAtZero(seconds: number): Promise<number> {
  const begin = Date.now();
  while (Date.now() - begin < seconds * 1000) {
    const left = (await Promise.all([podsOf(ENCLAVES), podsOf(HELLO)])).flat();
    if (left.length === 0) return Date.now() - begin;
    await new Promise((done) => setTimeout(done, 1_000));
  }
  throw new Error(`pods are left after ${seconds} s`);
}

/** Removes every enclave of the cluster: benchmarks begin and end without any. */
export const removeEnclaves = (): Promise<string> => kubectl(['delete', 'ksvc', '--all', '-n', ENCLAVES]);

/** Working set of each container on the nodes, MiB, as the kubelets' resource metrics have it. */
export async function memory(): Promise<Array<{ namespace: string; pod: string; container: string; mib: number }>> {
  const nodes = (await kubectl(['get', 'nodes', '-o', 'name'])).trim().split('\n');
  const texts = await Promise.all(
    nodes.map((node) => kubectl(['get', '--raw', `/api/v1/nodes/${node.replace('node/', '')}/proxy/metrics/resource`])),
  );
  const line = /^container_memory_working_set_bytes\{container="([^"]*)",namespace="([^"]*)",pod="([^"]*)"\} (\S+)/gm;
  return texts.flatMap((text) =>
    [...text.matchAll(line)].map(([, container = '', namespace = '', pod = '', bytes]) => ({
      namespace,
      pod,
      container,
      mib: Number(bytes) / 2 ** 20,
    })),
  );
}
