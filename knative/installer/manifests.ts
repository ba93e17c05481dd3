import { mkdtemp, rm } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { sha256Hex } from '../../attestation/crypto';
import { kubectl } from '../../runtime/kubernetes/kubectl';
import { writeNamed } from '../../runtime/name-path';
import type { Installation } from './installation';
import { manifestEnvironments } from './installed';
import { kustomization } from './kustomization';
import { CONFIGURABLE } from './settings';
import type { Configurable } from './settings';

interface Options {
  /** The folder `knative`. */
  manifests: string;
  /** Digests of earlier enclave images that still get evidence. */
  earlierImages?: string[];
}

/** Writes the installation's kustomization into a folder, which is gone afterwards. @throws KubectlError */
async function withKustomization<T>(
  installation: Installation,
  { manifests, earlierImages }: Options,
  use: (folder: string) => Promise<T>,
): Promise<T> {
  const environments = await manifestEnvironments(manifests);
  const variables = Object.fromEntries(
    CONFIGURABLE.map((program) => [program, environments[program].map(({ name }) => name)]),
  ) as Record<Configurable, string[]>;
  // Beside the overlays, because kustomize takes relative paths only.
  const folder = await mkdtemp(join(manifests, '.install-'));
  try {
    const { enclaveTemplate: template } = installation;
    if (template !== undefined) await writeNamed(join(folder, 'enclave.yaml'), template);
    const text = kustomization(installation, {
      manifests: relative(folder, manifests),
      variables,
      earlierImages,
      enclaveTemplate: template === undefined ? undefined : sha256Hex(template),
    });
    await writeNamed(join(folder, 'kustomization.yaml'), JSON.stringify(text, null, 2));
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** @throws KubectlError */
export async function applyManifests(installation: Installation, options: Options): Promise<void> {
  await withKustomization(installation, options, (folder) =>
    kubectl(['apply', '--server-side', '--force-conflicts', '-k', folder]),
  );
}

/** The objects as YAML; no cluster is asked. @throws KubectlError */
export async function renderManifests(installation: Installation, options: Options): Promise<string> {
  return withKustomization(installation, options, (folder) => kubectl(['kustomize', folder]));
}
