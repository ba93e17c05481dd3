import { digestOf, PROGRAMS } from './installation';
import type { Installation } from './installation';
import { networkPatches } from './network';
import type { Operation } from './patch';
import { CONFIGURABLE } from './settings';
import type { Configurable } from './settings';
import { mountsOf } from './template';

interface Choices {
  /** Relative path from the kustomization to the folder `knative`. */
  manifests: string;
  /** Names of the variables that the manifests give to each program, in their order. */
  variables: Record<Configurable, string[]>;
  /** Digests of earlier enclave images that still get evidence. */
  earlierImages?: string[];
  /** SHA-256 in hex of `enclave.yaml` beside the kustomization, where the installation has a template of its own. */
  enclaveTemplate?: string;
}

const CONTAINER = '/spec/template/spec/containers/0';
const REAPER_CONTAINER = `/spec/jobTemplate${CONTAINER}`;
/** Place of swtpm's folder among the attestor's volumes in components/software-tpm. */
const TPM_VOLUME = 3;

/** A kustomization (JSON is YAML) over an overlay, as one writes it by hand: images, the enclave's image, the node selector, settings. */
export function kustomization(
  installation: Installation,
  { manifests, variables, earlierImages = [], enclaveTemplate }: Choices,
): object {
  const { images, nodeSelector, oidc, metrics, overlay, settings, enclaveTemplate: template } = installation;
  const patches = CONFIGURABLE.map((program) => ({
    target: TARGETS[program],
    operations: Object.entries(settings[program] ?? {}).flatMap(([name, value]) =>
      value === undefined ? [] : setting(program, name, value, variables[program].indexOf(name)),
    ),
  }));
  const patchOf = (program: Configurable): Operation[] => patches[CONFIGURABLE.indexOf(program)]!.operations;
  const [label = '', value = ''] = nodeSelector.split('=', 2);
  patchOf('login').unshift(
    ...environment(0, 'ENCLAVE_IMAGE', images.enclave),
    ...environment(1, 'ENCLAVE_NODE_SELECTOR', nodeSelector),
  );
  patchOf('attestor').unshift(
    ...environment(0, 'ENCLAVE_IMAGES', [images.enclave, ...earlierImages].join(',')),
    { op: 'replace', path: '/spec/template/spec/nodeSelector', value: { [label]: value } },
    ...tpmFolder(installation),
  );
  if (oidc) patchOf('signup').unshift(...oidcEnvironment(oidc));
  if (enclaveTemplate !== undefined) {
    // login reads the template when it starts: another one makes another revision of login.
    patchOf('login').push({
      op: 'add',
      path: '/spec/template/metadata/annotations/licensing~1enclave-template',
      value: enclaveTemplate,
    });
  }
  return {
    apiVersion: 'kustomize.config.k8s.io/v1beta1',
    kind: 'Kustomization',
    resources: [`${manifests}/overlays/${overlay}`],
    components: metrics ? [`${manifests}/components/metrics`] : [],
    images: PROGRAMS.filter((name) => name !== 'enclave').map((name) => {
      const [newName, digest] = images[name].split('@', 2);
      return { name: `licensing/${name}`, newName, digest };
    }),
    ...(enclaveTemplate !== undefined && {
      configMapGenerator: [
        { name: 'enclave-template', namespace: 'licensing', behavior: 'replace', files: ['enclave.yaml'] },
      ],
      generatorOptions: { disableNameSuffixHash: true },
    }),
    patches: [
      ...patches,
      { target: { kind: 'ConfigMap', name: 'enclave-policy' }, operations: policy() },
      ...networkPatches(installation),
    ]
      .filter(({ operations }) => operations.length > 0)
      .map(({ target, operations }) => ({ target, patch: JSON.stringify(operations) })),
  };

  function policy(): Operation[] {
    const own = template === undefined ? {} : mountsOf(template);
    const data = { digests: [digestOf(images.enclave), ...earlierImages].join(' '), nodeSelector, ...own };
    return Object.entries(data).map(([key, value]) => ({ op: 'replace', path: `/data/${key}`, value }));
  }
}

const service = (name: string): object => ({ group: 'serving.knative.dev', kind: 'Service', name });
const TARGETS: Record<Configurable, object> = {
  signup: service('signup'),
  login: service('login'),
  enrol: service('enrol'),
  admin: service('admin'),
  attestor: { kind: 'DaemonSet', name: 'attestor' },
  reaper: { kind: 'CronJob', name: 'reaper' },
};

function tpmFolder({ tpmFolder: path }: Installation): Operation[] {
  if (path === undefined) return [];
  const volume = `/spec/template/spec/volumes/${TPM_VOLUME}`;
  return [
    { op: 'test', path: `${volume}/name`, value: 'tpm' },
    { op: 'replace', path: `${volume}/hostPath/path`, value: path },
  ];
}

/** @param index among the variables of the manifest; -1: it has none of this name */
function setting(program: Configurable, name: string, value: string, index: number): Operation[] {
  const container = program === 'reaper' ? REAPER_CONTAINER : CONTAINER;
  if (index >= 0) return environment(index, name, value, container);
  return [{ op: 'add', path: `${container}/env/-`, value: { name, value } }];
}

function oidcEnvironment({
  issuer,
  clientId,
  scopes,
  signup,
  publicClientSecret,
}: NonNullable<Installation['oidc']>): Operation[] {
  const values = {
    OIDC_ISSUER: issuer,
    OIDC_CLIENT_ID: clientId,
    OIDC_SCOPES: scopes,
    OIDC_SIGNUP: String(signup),
    OIDC_PUBLIC_CLIENT_SECRET: publicClientSecret,
  };
  return Object.entries(values).flatMap(([name, value], index) => environment(index, name, value));
}

function environment(index: number, name: string, value: string, container = CONTAINER): Operation[] {
  return [
    { op: 'test', path: `${container}/env/${index}/name`, value: name },
    { op: 'replace', path: `${container}/env/${index}/value`, value },
  ];
}
