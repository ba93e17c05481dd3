import { createHash } from 'node:crypto';
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadAll } from 'js-yaml';
import { readEnvironment } from '../../../runtime/config/environment';
import { readOidcSettings } from '../../../licensing/oidc/settings';
import { signupSettings } from '../../../functions/signup/settings';
import { checkInstallation, PROGRAMS } from '../../../knative/installer/installation';
import type { Draft } from '../../../knative/installer/installation';
import { renderManifests } from '../../../knative/installer/manifests';

const root = join(__dirname, '../../..');
const base = join(root, 'knative/base');
const OVERLAYS = readdirSync(join(root, 'knative/overlays'));
const digest = `sha256:${'a'.repeat(64)}`;
const earlier = `sha256:${'b'.repeat(64)}`;
const images = Object.fromEntries(PROGRAMS.map((name) => [name, `registry.example/${name}@${digest}`]));

interface Container {
  name?: string;
  image: string;
  env?: Array<{ name: string; value?: string }>;
  securityContext?: Record<string, unknown>;
}
interface Manifest {
  kind: string;
  apiVersion: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string> };
  spec?: {
    jobTemplate?: { spec: { template: { spec: { containers: Container[] } } } };
    template?: {
      metadata?: object;
      spec: {
        containers: Container[];
        initContainers?: Container[];
        nodeSelector?: object;
        automountServiceAccountToken?: boolean;
        serviceAccountName?: string;
        volumes?: Array<{ name: string; hostPath?: { path: string } }>;
      };
    };
  };
}

const read = (file: string): Manifest[] => loadAll(readFileSync(join(base, file), 'utf8')) as Manifest[];
const hasKubectl = spawnSync('kubectl', ['version', '--client'], { stdio: 'ignore' }).status === 0;

/** What `kubectl apply -k` would apply. */
function render(folder: string): Manifest[] {
  return loadAll(execFileSync('kubectl', ['kustomize', folder], { encoding: 'utf8', maxBuffer: 1e8 })) as Manifest[];
}

/** What the installer would apply of this installation. */
async function rendered(draft: Draft = {}, earlierImages?: string[]): Promise<Manifest[]> {
  const installation = checkInstallation({ overlay: 'software-tpm', images, ...draft });
  return loadAll(
    await renderManifests(installation, { manifests: join(root, 'knative'), earlierImages }),
  ) as Manifest[];
}

const isFunction = ({ kind, apiVersion }: Manifest): boolean =>
  kind === 'Service' && apiVersion === 'serving.knative.dev/v1';
const podOf = (objects: Manifest[], name: string) =>
  objects.find((object) => object.metadata.name === name && (isFunction(object) || object.kind === 'DaemonSet'))?.spec
    ?.template;

/** By which the API server judges what login makes. */
const policyOf = (objects: Manifest[]): unknown =>
  (objects.find(({ metadata }) => metadata.name === 'enclave-policy') as { data?: object } | undefined)?.data;

test.each(['signup.yaml', 'login.yaml', 'enrol.yaml', 'enclave.yaml'])(
  '%s is one Knative Service, for kn service apply -f',
  (file) => {
    const documents = read(file);
    expect(documents).toHaveLength(1);
    expect(documents[0]).toMatchObject({ apiVersion: 'serving.knative.dev/v1', kind: 'Service' });
  },
);

test('every function meets the restricted Pod Security Standard, and only login has a service account token', () => {
  for (const file of ['signup.yaml', 'login.yaml', 'enrol.yaml']) {
    const spec = read(file)[0]?.spec?.template?.spec;
    expect(spec?.containers[0]?.securityContext).toEqual({
      runAsNonRoot: true,
      readOnlyRootFilesystem: true,
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      seccompProfile: { type: 'RuntimeDefault' },
    });
    expect({ file, automount: spec?.automountServiceAccountToken }).toEqual({
      file,
      automount: file === 'login.yaml' ? undefined : false,
    });
  }
});

test('enrol is inside the cluster only', () => {
  expect(read('enrol.yaml')[0]?.metadata.labels).toEqual({ 'networking.knative.dev/visibility': 'cluster-local' });
});

test('no Secret stands in the repository, and secrets come as files', () => {
  const text = readdirSync(base)
    .map((file) => readFileSync(join(base, file), 'utf8'))
    .join('\n');
  expect(text).not.toMatch(/^kind: Secret$/m);
  expect(text).not.toMatch(/secretKeyRef:/);
});

(hasKubectl ? describe : describe.skip)('overlays', () => {
  test.each(OVERLAYS)('%s renders, with a TPM for the attestor and no privilege but it', (overlay) => {
    const objects = render(join(root, 'knative/overlays', overlay));
    const attestor = objects.find(({ kind }) => kind === 'DaemonSet')?.spec?.template?.spec;
    const tpm = attestor?.containers[0]?.env?.find(({ name }) => name === 'TPM')?.value;
    expect(tpm).toBe(overlay.startsWith('software') ? 'swtpm:path=/tpm/tpm.sock' : 'device:/dev/tpmrm0');
    for (const container of [...(attestor?.containers ?? []), ...(attestor?.initContainers ?? [])]) {
      expect(container.securityContext).toMatchObject({
        readOnlyRootFilesystem: true,
        allowPrivilegeEscalation: false,
      });
      expect(container.securityContext).not.toHaveProperty('privileged');
      expect(container.securityContext?.capabilities).toHaveProperty('drop', ['ALL']);
    }
    expect(objects.some(({ kind, metadata }) => kind === 'StatefulSet' && metadata.name === 'postgres')).toBe(
      overlay !== 'external-postgres',
    );
  });

  test('what the installer puts over an overlay sets every image, the node selector and the folder of the TPM', async () => {
    const objects = await rendered({ nodeSelector: 'x/tpm=yes', tpmFolder: '/var/tpm' }, [earlier]);
    const pods = objects.flatMap(({ spec }) => (spec?.template ? [spec.template.spec] : []));
    const used = pods.flatMap(({ containers, initContainers = [] }) =>
      [...containers, ...initContainers].map(({ image }) => image),
    );
    expect(used.filter((image) => image.startsWith('licensing/'))).toEqual([]);
    const login = podOf(objects, 'login')?.spec.containers[0];
    expect(login?.env).toContainEqual({ name: 'ENCLAVE_IMAGE', value: images['enclave'] });
    expect(login?.env).toContainEqual({ name: 'ENCLAVE_NODE_SELECTOR', value: 'x/tpm=yes' });
    const attestor = podOf(objects, 'attestor')?.spec;
    expect(attestor?.containers[0]?.env).toContainEqual({
      name: 'ENCLAVE_IMAGES',
      value: `${images['enclave']},${earlier}`,
    });
    expect(attestor?.nodeSelector).toEqual({ 'x/tpm': 'yes' });
    const mounts = { claims: 'attestor-socket:ro', configMaps: 'client-ca', secrets: '' };
    expect(policyOf(objects)).toEqual({ digests: `${digest} ${earlier}`, nodeSelector: 'x/tpm=yes', ...mounts });
    expect(attestor?.volumes).toContainEqual({ name: 'tpm', hostPath: { path: '/var/tpm', type: 'Directory' } });
  });

  test('a setting replaces that of the manifests, or joins them, in its program alone', async () => {
    const settings = {
      login: { LICENCE_REQUIRED: 'true', ENCLAVE_VOLUME_SIZE: '10Gi' },
      attestor: { LOG_LEVEL: 'debug' },
      reaper: { UNUSED_DAYS: '90' },
    };
    const [before, after] = [await rendered(), await rendered({ settings, metrics: true })];
    const environment = (objects: Manifest[], program: string) =>
      objects
        .flatMap(({ metadata, spec }) =>
          metadata.name === program ? [spec?.template ?? spec?.jobTemplate?.spec.template] : [],
        )
        .flatMap((template) => template?.spec.containers[0]?.env ?? []);
    const added = (program: string): unknown[] => {
      const known = environment(before, program).map((variable) => JSON.stringify(variable));
      return environment(after, program).filter((variable) => !known.includes(JSON.stringify(variable)));
    };
    const port = { name: 'METRICS_PORT', value: '9464' };
    const sorted = (variables: unknown[]): string[] => variables.map((variable) => JSON.stringify(variable)).sort();
    const expected: Record<string, unknown[]> = {
      signup: [port],
      login: [port, { name: 'LICENCE_REQUIRED', value: 'true' }, { name: 'ENCLAVE_VOLUME_SIZE', value: '10Gi' }],
      attestor: [port, { name: 'LOG_LEVEL', value: 'debug' }],
      reaper: [{ name: 'UNUSED_DAYS', value: '90' }],
    };
    for (const [program, variables] of Object.entries(expected)) {
      expect(sorted(added(program))).toEqual(sorted(variables));
      const names = environment(after, program).map(({ name }) => name);
      expect(names).toEqual([...new Set(names)]);
    }
  });

  test('the OpenID provider is none unless the installer is told one, and signup alone hears of it', async () => {
    const oidcOf = async (draft: Draft = {}): Promise<Record<string, Record<string, string | undefined>>> => {
      const settings = (await rendered(draft))
        .filter(isFunction)
        .map(
          ({ metadata, spec }) =>
            [
              metadata.name,
              (spec?.template?.spec.containers[0]?.env ?? []).filter(({ name }) => name.startsWith('OIDC_')),
            ] as const,
        );
      return Object.fromEntries(
        settings
          .filter(([, env]) => env.length > 0)
          .map(([name, env]) => [name, Object.fromEntries(env.map((each) => [each.name, each.value]))]),
      );
    };
    const none = {
      OIDC_ISSUER: '',
      OIDC_CLIENT_ID: '',
      OIDC_SCOPES: 'openid',
      OIDC_SIGNUP: 'true',
      OIDC_PUBLIC_CLIENT_SECRET: '',
    };
    expect(await oidcOf()).toEqual({ signup: none });
    const oidc = {
      issuer: 'https://accounts.example.com',
      clientId: 'sls',
      scopes: 'openid offline_access',
      signup: false,
      publicClientSecret: 'x',
    };
    const told = {
      OIDC_ISSUER: oidc.issuer,
      OIDC_CLIENT_ID: 'sls',
      OIDC_SCOPES: oidc.scopes,
      OIDC_SIGNUP: 'false',
      OIDC_PUBLIC_CLIENT_SECRET: 'x',
    };
    expect(await oidcOf({ oidc })).toEqual({ signup: told });
    // As signup reads them.
    const settings = {
      LISTEN: 'http://0.0.0.0:8080',
      DATABASE_URL_FILE: 'x',
      TOKEN_KEYS_FILE: 'x',
      TRUST_DOMAIN: 'sls.test',
    };
    expect(readOidcSettings(readEnvironment(signupSettings, { ...settings, ...none }))).toBeUndefined();
    expect(readOidcSettings(readEnvironment(signupSettings, { ...settings, ...told }))).toMatchObject({
      issuer: oidc.issuer,
      signup: false,
    });
  });

  test('the component of metrics gives every program its port, the PodMonitors name it, and Knative Services still declare gRPC alone', async () => {
    const objects = await rendered({ overlay: 'external-postgres', metrics: true });
    const programs = objects.filter((object) => object.kind === 'DaemonSet' || isFunction(object));
    expect(programs.map(({ metadata }) => metadata.name).sort()).toEqual([
      'admin',
      'attestor',
      'enrol',
      'login',
      'signup',
    ]);
    for (const { kind, spec } of programs) {
      const [container] = spec?.template?.spec.containers ?? [];
      expect(container?.env).toContainEqual({ name: 'METRICS_PORT', value: '9464' });
      expect((container as { ports?: object[] } | undefined)?.ports).toEqual([
        kind === 'DaemonSet' ? { name: 'metrics', containerPort: 9464 } : { name: 'h2c', containerPort: 8080 },
      ]);
    }
    const monitors = objects.filter(({ kind }) => kind === 'PodMonitor');
    expect(monitors.map(({ metadata }) => metadata.name).sort()).toEqual(['licensing-attestor', 'licensing-functions']);
    expect(JSON.stringify(monitors)).toContain('$1:9464');
    expect(JSON.stringify(objects.filter(({ kind }) => kind === 'ConfigMap'))).not.toContain('METRICS_PORT');
  });

  test("an operator's own template of enclaves takes the place of the project's, and makes another revision of login", async () => {
    const objects = await rendered({ enclaveTemplate: 'mine: true\n' });
    expect(policyOf(objects)).toMatchObject({ claims: '', configMaps: '', secrets: '' });
    expect(objects.filter(({ metadata }) => metadata.name === 'enclave-template')).toMatchObject([
      { kind: 'ConfigMap', data: { 'enclave.yaml': 'mine: true\n' } },
    ]);
    expect(podOf(objects, 'login')).toMatchObject({
      metadata: {
        annotations: {
          'licensing/enclave-template': createHash('sha256').update('mine: true\n').digest('hex'),
          'autoscaling.knative.dev/min-scale': '0',
        },
      },
    });
  });
});
