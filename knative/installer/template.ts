import { load } from 'js-yaml';

interface Named {
  name?: string;
}
interface Source {
  configMap?: Named;
  secret?: Named;
}
interface Volume {
  configMap?: Named;
  secret?: { secretName?: string };
  persistentVolumeClaim?: { claimName: string; readOnly?: boolean };
  projected?: { sources?: Source[] };
}
interface Container {
  env?: Array<{ valueFrom?: { configMapKeyRef?: Named; secretKeyRef?: Named } }>;
  envFrom?: Array<{ configMapRef?: Named; secretRef?: Named }>;
}
interface Template {
  spec?: { template?: { spec?: { containers?: Container[]; volumes?: Volume[] } } };
}

/** What the admission policy of enclaves lets login mount and read, as the ConfigMap `enclave-policy` has it. */
interface Mounts {
  claims: string;
  configMaps: string;
  secrets: string;
}

const namesOf = (...all: Array<Array<string | undefined>>): string =>
  [...new Set(all.flat().filter((name) => name !== undefined))].sort().join(' ');

/** What a template of enclaves mounts and reads beside the enclave's own. @param text YAML of a Knative Service */
export function mountsOf(text: string): Mounts {
  const { containers = [], volumes = [] } = (load(text) as Template | undefined)?.spec?.template?.spec ?? {};
  const sources = volumes.flatMap(({ projected }) => projected?.sources ?? []);
  const env = containers.flatMap(({ env = [] }) => env.map(({ valueFrom }) => valueFrom));
  const envFrom = containers.flatMap(({ envFrom = [] }) => envFrom);
  return {
    claims: namesOf(
      volumes.map(({ persistentVolumeClaim: claim }) => claim && `${claim.claimName}${claim.readOnly ? ':ro' : ''}`),
    ),
    configMaps: namesOf(
      [...volumes, ...sources].map(({ configMap }) => configMap?.name),
      env.map((from) => from?.configMapKeyRef?.name),
      envFrom.map(({ configMapRef }) => configMapRef?.name),
    ),
    secrets: namesOf(
      volumes.map(({ secret }) => secret?.secretName),
      sources.map(({ secret }) => secret?.name),
      env.map((from) => from?.secretKeyRef?.name),
      envFrom.map(({ secretRef }) => secretRef?.name),
    ),
  };
}
