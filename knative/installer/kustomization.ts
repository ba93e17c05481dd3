/** What an installation decides. Everything else is in the overlay. */
interface Choices {
  /** Relative path from the kustomization to the overlay. */
  overlay: string;
  /** REPOSITORY@sha256:HEX of each program. */
  images: Record<Program, string>;
  /** Digests of earlier enclave images that still get evidence. */
  earlierImages?: string[];
  /** KEY=VALUE label of the nodes with a TPM. */
  nodeSelector?: string;
  /** Folder of swtpm's sockets on the nodes (overlay software-tpm). */
  tpmFolder?: string;
  /** What enclaves are made from in place of base/enclave.yaml: `enclave.yaml` beside the kustomization, and SHA-256 of it in hex. */
  enclaveTemplate?: { sha256: string };
  /** Relative paths to components of knative/components. */
  components?: string[];
  /** The OpenID provider by which users may log in. */
  oidc?: OidcChoice;
}

export interface OidcChoice {
  issuer: string;
  clientId: string;
  /** Divided by spaces. */
  scopes: string;
  /** Whether a first login makes an account. */
  signup: boolean;
  /** What the provider calls a secret and every client gets; none: ''. */
  publicClientSecret: string;
}

export const PROGRAMS = ['signup', 'login', 'enrol', 'admin', 'attestor-daemon', 'enclave'] as const;
export type Program = (typeof PROGRAMS)[number];

type Operation = { op: 'test' | 'replace' | 'add'; path: string; value: unknown };
const CONTAINER = '/spec/template/spec/containers/0';
/** Place of swtpm's folder among the attestor's volumes in components/software-tpm. */
const TPM_VOLUME = 3;

/** A kustomization (JSON is YAML) over an overlay, as one writes it by hand: images, the enclave's image, the node selector. */
export function kustomization({
  overlay,
  images,
  earlierImages = [],
  nodeSelector,
  tpmFolder,
  enclaveTemplate,
  components = [],
  oidc,
}: Choices): object {
  const [label, value] = nodeSelector?.split('=', 2) ?? [];
  const login = [...environment(0, 'ENCLAVE_IMAGE', images.enclave)];
  const attestor = [...environment(0, 'ENCLAVE_IMAGES', [images.enclave, ...earlierImages].join(','))];
  if (nodeSelector !== undefined && label && value !== undefined) {
    login.push(...environment(1, 'ENCLAVE_NODE_SELECTOR', nodeSelector));
    attestor.push({ op: 'replace', path: '/spec/template/spec/nodeSelector', value: { [label]: value } });
  }
  if (tpmFolder !== undefined) {
    attestor.push({ op: 'test', path: `/spec/template/spec/volumes/${TPM_VOLUME}/name`, value: 'tpm' });
    attestor.push({ op: 'replace', path: `/spec/template/spec/volumes/${TPM_VOLUME}/hostPath/path`, value: tpmFolder });
  }
  if (enclaveTemplate !== undefined) {
    // login reads the template when it starts: another one makes another revision of login.
    login.push({
      op: 'add',
      path: '/spec/template/metadata/annotations/licensing~1enclave-template',
      value: enclaveTemplate.sha256,
    });
  }
  return {
    apiVersion: 'kustomize.config.k8s.io/v1beta1',
    kind: 'Kustomization',
    resources: [overlay],
    components,
    images: PROGRAMS.filter((name) => name !== 'enclave').map((name) => {
      const [newName, digest] = images[name].split('@', 2);
      return { name: `licensing/${name}`, newName, digest };
    }),
    ...(enclaveTemplate && {
      configMapGenerator: [
        { name: 'enclave-template', namespace: 'licensing', behavior: 'replace', files: ['enclave.yaml'] },
      ],
      generatorOptions: { disableNameSuffixHash: true },
    }),
    patches: [
      { target: { group: 'serving.knative.dev', kind: 'Service', name: 'login' }, patch: JSON.stringify(login) },
      ...(oidc
        ? [
            {
              target: { group: 'serving.knative.dev', kind: 'Service', name: 'signup' },
              patch: JSON.stringify(oidcEnvironment(oidc)),
            },
          ]
        : []),
      { target: { kind: 'DaemonSet', name: 'attestor' }, patch: JSON.stringify(attestor) },
    ],
  };
}

function oidcEnvironment({ issuer, clientId, scopes, signup, publicClientSecret }: OidcChoice): Operation[] {
  const values = {
    OIDC_ISSUER: issuer,
    OIDC_CLIENT_ID: clientId,
    OIDC_SCOPES: scopes,
    OIDC_SIGNUP: String(signup),
    OIDC_PUBLIC_CLIENT_SECRET: publicClientSecret,
  };
  return Object.entries(values).flatMap(([name, value], index) => environment(index, name, value));
}

function environment(index: number, name: string, value: string): Operation[] {
  return [
    { op: 'test', path: `${CONTAINER}/env/${index}/name`, value: name },
    { op: 'replace', path: `${CONTAINER}/env/${index}/value`, value },
  ];
}
