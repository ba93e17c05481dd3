import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { loadAll } from 'js-yaml';
import { readEnvironment } from '../../../runtime/config/environment';
import { readOidcSettings } from '../../../licensing/oidc/settings';
import { signupSettings } from '../../../functions/signup/settings';
import { kustomization, PROGRAMS } from '../../../knative/installer/kustomization';
import type { OidcChoice, Program } from '../../../knative/installer/kustomization';

const root = join(__dirname, '../../..');
const base = join(root, 'knative/base');
const OVERLAYS = readdirSync(join(root, 'knative/overlays'));
const digest = `sha256:${'a'.repeat(64)}`;
const earlier = `sha256:${'b'.repeat(64)}`;
const images = Object.fromEntries(PROGRAMS.map((name) => [name, `registry.example/${name}@${digest}`])) as Record<
  Program,
  string
>;

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
    template?: {
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
  expect(text).not.toContain('secretKeyRef');
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

  test('what the installer puts over an overlay sets every image, the node selector and the folder of the TPM', () => {
    const folder = mkdtempSync(join(root, 'knative/.test-'));
    try {
      const overlay = relative(folder, join(root, 'knative/overlays/software-tpm'));
      writeFileSync(
        join(folder, 'kustomization.yaml'),
        JSON.stringify(
          kustomization({
            overlay,
            images,
            earlierImages: [earlier],
            nodeSelector: 'x/tpm=yes',
            tpmFolder: '/var/tpm',
          }),
        ),
      );
      const objects = render(folder);
      const pods = objects.flatMap(({ spec }) => (spec?.template ? [spec.template.spec] : []));
      const used = pods.flatMap(({ containers, initContainers = [] }) =>
        [...containers, ...initContainers].map(({ image }) => image),
      );
      expect(used.filter((image) => image.startsWith('licensing/'))).toEqual([]);
      const login = objects.find(({ kind, metadata }) => kind === 'Service' && metadata.name === 'login')?.spec
        ?.template?.spec.containers[0];
      expect(login?.env).toContainEqual({ name: 'ENCLAVE_IMAGE', value: images.enclave });
      expect(login?.env).toContainEqual({ name: 'ENCLAVE_NODE_SELECTOR', value: 'x/tpm=yes' });
      const attestor = objects.find(({ kind }) => kind === 'DaemonSet')?.spec?.template?.spec;
      expect(attestor?.containers[0]?.env).toContainEqual({
        name: 'ENCLAVE_IMAGES',
        value: `${images.enclave},${earlier}`,
      });
      expect(attestor?.nodeSelector).toEqual({ 'x/tpm': 'yes' });
      expect(attestor?.volumes).toContainEqual({ name: 'tpm', hostPath: { path: '/var/tpm', type: 'Directory' } });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('the OpenID provider is none unless the installer is told one, and signup alone hears of it', () => {
    const folder = mkdtempSync(join(root, 'knative/.test-'));
    try {
      const overlay = relative(folder, join(root, 'knative/overlays/software-tpm'));
      const oidcOf = (oidc?: OidcChoice): Record<string, Record<string, string | undefined>> => {
        writeFileSync(join(folder, 'kustomization.yaml'), JSON.stringify(kustomization({ overlay, images, oidc })));
        const services = render(folder).filter(
          ({ kind, apiVersion }) => kind === 'Service' && apiVersion === 'serving.knative.dev/v1',
        );
        const settings = services.map(
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
      expect(oidcOf()).toEqual({ signup: none });
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
      expect(oidcOf(oidc)).toEqual({ signup: told });
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
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('the component of metrics gives every program its port, the PodMonitors name it, and Knative Services still declare gRPC alone', () => {
    const folder = mkdtempSync(join(root, 'knative/.test-'));
    try {
      const [overlay, metrics] = ['overlays/external-postgres', 'components/metrics'].map((path) =>
        relative(folder, join(root, 'knative', path)),
      ) as [string, string];
      writeFileSync(
        join(folder, 'kustomization.yaml'),
        JSON.stringify(kustomization({ overlay, images, components: [metrics] })),
      );
      const objects = render(folder);
      const programs = objects.filter(
        ({ kind, apiVersion }) =>
          kind === 'DaemonSet' || (kind === 'Service' && apiVersion === 'serving.knative.dev/v1'),
      );
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
      expect(monitors.map(({ metadata }) => metadata.name).sort()).toEqual([
        'licensing-attestor',
        'licensing-functions',
      ]);
      expect(JSON.stringify(monitors)).toContain('$1:9464');
      expect(JSON.stringify(objects.filter(({ kind }) => kind === 'ConfigMap'))).not.toContain('METRICS_PORT');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("an operator's own template of enclaves takes the place of the project's, and makes another revision of login", () => {
    const folder = mkdtempSync(join(root, 'knative/.test-'));
    try {
      writeFileSync(join(folder, 'enclave.yaml'), 'mine: true\n');
      const overlay = relative(folder, join(root, 'knative/overlays/software-tpm'));
      writeFileSync(
        join(folder, 'kustomization.yaml'),
        JSON.stringify(kustomization({ overlay, images, enclaveTemplate: { sha256: 'c'.repeat(64) } })),
      );
      const objects = render(folder);
      expect(objects.filter(({ metadata }) => metadata.name === 'enclave-template')).toMatchObject([
        { kind: 'ConfigMap', data: { 'enclave.yaml': 'mine: true\n' } },
      ]);
      const login = objects.find(({ kind, metadata }) => kind === 'Service' && metadata.name === 'login')?.spec
        ?.template;
      expect(login).toMatchObject({
        metadata: {
          annotations: { 'licensing/enclave-template': 'c'.repeat(64), 'autoscaling.knative.dev/min-scale': '0' },
        },
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
