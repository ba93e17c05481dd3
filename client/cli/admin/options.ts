import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { FolderKeyStore } from '../../../installation/folder';
import type { KeyStore } from '../../../installation/store';
import { readPublishedTrust } from '../../../installation/trust';
import { defaultInstallationFolder } from '../../../launcher/folder';
import { CliError, EXIT } from '../exit';

/** Of `--dir`. */
export const DIR = 'installation folder of sls up on this machine (default: ~/.local/state/sls/server)';

/** Which installation is meant: a folder of this machine's, or a namespace of a cluster. */
export interface PlaceOptions {
  dir?: string;
  namespace?: string;
  enclaveNamespace?: string;
}

export function addPlaceOptions(command: Command): Command {
  return command
    .option('--dir <folder>', DIR)
    .option('--namespace <name>', 'namespace of an installation in a cluster, reached with kubectl and its kubeconfig')
    .option('--enclave-namespace <name>', 'namespace of its enclaves (default: NAMESPACE-enclaves)');
}

export async function openKeyStore({ dir, namespace, enclaveNamespace }: PlaceOptions): Promise<KeyStore> {
  if (namespace === undefined) return new FolderKeyStore(installationFolder({ dir }));
  if (dir !== undefined) throw new CliError(EXIT.usage, 'expected --dir or --namespace, got both');
  const { KubernetesKeyStore } = await import('../../../installation/kubernetes');
  return new KubernetesKeyStore({ services: namespace, enclaves: enclaveNamespace ?? `${namespace}-enclaves` });
}

export function installationFolder({ dir }: Pick<PlaceOptions, 'dir'>): string {
  return dir === undefined ? defaultInstallationFolder() : resolve(dir);
}

/** The trust domain that the installation has, by its own trust bundle. */
export async function trustDomainOf(store: KeyStore): Promise<string> {
  const published = await readPublishedTrust(store);
  if (published === undefined) {
    throw new CliError(EXIT.usage, 'no trust bundle in the key store: there is no installation yet', {
      hint: 'start one with sls up, or see sls admin init --help',
    });
  }
  return published.bundle.trustDomain;
}

/** Where administration is served, and as whom. */
export interface AdminOptions {
  address?: string;
  adminCertificate?: string;
  adminKey?: string;
  dir?: string;
}

export function addAdminOptions(command: Command): Command {
  return command
    .option(
      '--address <address>',
      'address of functions/admin: https://HOST:PORT, http://HOST:PORT or unix:/PATH (default: that of sls up)',
    )
    .option('--admin-certificate <file>', "administrator's certificate, PEM (default: the installation's own)")
    .option('--admin-key <file>', "administrator's private key, PEM (default: the installation's own)")
    .option('--dir <folder>', DIR);
}

export function adminFiles(options: AdminOptions): {
  address: string;
  certificate: string;
  key: string;
  trustBundle: string;
} {
  const folder = installationFolder(options);
  return {
    address: absoluteSocket(options.address) ?? `unix:${join(folder, 'run', 'admin.sock')}`,
    certificate: options.adminCertificate ?? join(folder, 'admin', 'certificate.pem'),
    key: options.adminKey ?? join(folder, 'admin', 'key.pem'),
    trustBundle: join(folder, 'trust-bundle.jws'),
  };
}

/** gRPC takes absolute paths alone. */
function absoluteSocket(address: string | undefined): string | undefined {
  return address?.replace(/^unix:(.+)$/, (_, path: string) => `unix:${resolve(path)}`);
}
