import { join } from 'node:path';
import { readText } from '../../runtime/text/utf8';
import type { Installation } from './installation';

/** What the installation will be. */
export interface CheckChoices {
  /** PostgreSQL in the cluster, with a volume. */
  postgres: boolean;
  /** The nodes' own TPMs, by a device plugin; else a software TPM on each of them. */
  hardwareTpm: boolean;
  /** KEY=VALUE label of the nodes with a TPM. */
  nodeSelector: string;
  /** The enclaves' Knative Service, YAML. */
  enclaveTemplate: string;
  /** Where the cluster's DNS, ingress and API server are, as far as the installation says. */
  network: Installation['network'];
  /** PodMonitors are made. */
  metrics: boolean;
  /** Of the enclaves; none: the cluster's usual one. */
  runtimeClass?: string | undefined;
  /** Enclaves keep their files on volumes, of this StorageClass, or of the default one. */
  volumes?: { storageClass?: string | undefined } | undefined;
}

/** @param manifests the folder `knative` */
export async function checkChoicesOf(installation: Installation, manifests: string): Promise<CheckChoices> {
  const { overlay, nodeSelector, metrics, settings, enclaveTemplate, network } = installation;
  const { ENCLAVE_RUNTIME_CLASS, ENCLAVE_VOLUME_SIZE, ENCLAVE_STORAGE_CLASS } = settings.login ?? {};
  return {
    postgres: overlay !== 'external-postgres',
    hardwareTpm: overlay !== 'software-tpm',
    nodeSelector,
    enclaveTemplate: enclaveTemplate ?? (await readText(join(manifests, 'base', 'enclave.yaml'))),
    network,
    metrics,
    runtimeClass: ENCLAVE_RUNTIME_CLASS,
    volumes: ENCLAVE_VOLUME_SIZE === undefined ? undefined : { storageClass: ENCLAVE_STORAGE_CLASS },
  };
}
