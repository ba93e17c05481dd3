import { apply, find, kubectl, KubectlError } from '../runtime/kubernetes/kubectl';
import { KeyStoreError } from './store';
import type { KeyName, KeyStore } from './store';
import { decodeUtf8 } from '../runtime/text/utf8';

/**
 * The kubelet syncs mounted Secrets and ConfigMaps within its sync period and the life of its cache, a minute each by default (Kubernetes
 * documentation, "Using Secrets as files"); the rest is for the programs' own look.
 */
const SETTLE_SECONDS = 180;

interface Place {
  kind: 'secret' | 'configmap';
  name: string;
  key: string;
}

/** Where each key lies in the services' namespace. Trust key and admin CA key are mounted by nobody. */
const PLACES: Record<KeyName, Place> = {
  'token-keys.json': { kind: 'secret', name: 'token-keys', key: 'keys.json' },
  'revocation-keys.json': { kind: 'secret', name: 'revocation-keys', key: 'keys.json' },
  'licence-keys.json': { kind: 'secret', name: 'licence-keys', key: 'keys.json' },
  'second-factor-keys.json': { kind: 'secret', name: 'second-factor-keys', key: 'keys.json' },
  'log-keys.json': { kind: 'secret', name: 'log-keys', key: 'keys.json' },
  'trust-key.json': { kind: 'secret', name: 'trust-key', key: 'key.json' },
  'client-ca.key': { kind: 'secret', name: 'client-ca', key: 'key.pem' },
  'client-ca.crt': { kind: 'secret', name: 'client-ca', key: 'certificate.pem' },
  'attestation-ca.key': { kind: 'secret', name: 'attestation-ca', key: 'key.pem' },
  'attestation-ca.crt': { kind: 'secret', name: 'attestation-ca', key: 'certificate.pem' },
  'server-ca.crt': { kind: 'configmap', name: 'server-ca', key: 'certificate.pem' },
  'admin-ca.key': { kind: 'secret', name: 'admin-ca-key', key: 'key.pem' },
  'admin-ca.crt': { kind: 'configmap', name: 'admin-ca', key: 'certificate.pem' },
  'trust-bundle.jws': { kind: 'configmap', name: 'trust-bundle', key: 'bundle.jws' },
  'trust-bundle.json': { kind: 'configmap', name: 'trust-bundle', key: 'bundle.json' },
};

/** The namespace of the enclaves has a copy of what verifies their clients. */
const COPIES: Partial<Record<KeyName, Place>> = {
  'client-ca.crt': { kind: 'configmap', name: 'client-ca', key: 'certificate.pem' },
};

/** The key store of a cluster: Secrets and ConfigMaps of one namespace, through kubectl and its kubeconfig. */
export class KubernetesKeyStore implements KeyStore {
  readonly settleSeconds = SETTLE_SECONDS;

  constructor(private readonly namespaces: { services: string; enclaves: string }) {}

  placeOf(name: KeyName): string {
    const { kind, name: object, key } = PLACES[name];
    return `${key} of the ${kind === 'secret' ? 'Secret' : 'ConfigMap'} ${object} in the namespace ${this.namespaces.services}`;
  }

  async read(name: KeyName): Promise<string | undefined> {
    const { kind, name: object, key } = PLACES[name];
    const found = await this.reached(() =>
      find<{ data?: Record<string, string> }>(kind, this.namespaces.services, object),
    );
    const value = found?.data?.[key];
    return value === undefined || kind === 'configmap' ? value : decodeUtf8(Buffer.from(value, 'base64'), name);
  }

  async write(files: ReadonlyArray<readonly [KeyName, string]>): Promise<void> {
    for (const [name, content] of files) {
      const copy = COPIES[name];
      // Who verifies learns of it before who signs.
      if (copy) await this.put(this.namespaces.enclaves, copy, content);
      await this.put(this.namespaces.services, PLACES[name], content);
    }
  }

  private async put(namespace: string, { kind, name, key }: Place, content: string): Promise<void> {
    await this.reached(async () => {
      if (kind === 'configmap') {
        const there = await find<{ data?: Record<string, string> }>(kind, namespace, name);
        await apply([
          {
            apiVersion: 'v1',
            kind: 'ConfigMap',
            metadata: { name, namespace },
            data: { ...there?.data, [key]: content },
          },
        ]);
        return;
      }
      // Through standard input, never as an argument; replacing leaves no copy of the secret in an annotation, as applying would.
      const data = { [key]: Buffer.from(content).toString('base64') };
      const there = await find<{ data?: Record<string, string> }>(kind, namespace, name);
      if (there) {
        await kubectl(['replace', '-f', '-'], JSON.stringify({ ...there, data: { ...there.data, ...data } }));
        return;
      }
      await kubectl(
        ['create', '-f', '-'],
        JSON.stringify({ apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace }, type: 'Opaque', data }),
      );
    });
  }

  private async reached<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      if (!(cause instanceof KubectlError)) throw cause;
      throw new KeyStoreError(
        'keystore.unreachable',
        cause.message,
        'kubectl must reach the cluster with permission to read and write Secrets',
        { cause },
      );
    }
  }
}
