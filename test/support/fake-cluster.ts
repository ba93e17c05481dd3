import { randomUUID } from 'node:crypto';
import type { ObjectMeta } from '../../runtime/kubernetes/objects';
import { FakeApiServer } from './fake-api-server';
import type { FakeAnswer, FakeRequest } from './fake-api-server';

export interface StoredObject {
  metadata: ObjectMeta;
  spec?: Record<string, unknown>;
  status?: Record<string, unknown>;
  /** Of a ConfigMap. */
  data?: Record<string, string>;
}

const NOT_FOUND: FakeAnswer = { status: 404, body: { reason: 'NotFound', message: 'not found' } };

/**
 * Objects behind the API server's verbs: apply, get, list, delete with preconditions. A Knative Service is ready and has a ready pod from the moment on
 * that it is applied, unless told otherwise; its pods end with it.
 */
export class FakeCluster {
  /** By path. */
  readonly objects = new Map<string, StoredObject>();
  server!: FakeApiServer;
  /** Answers instead, where it gives something. */
  intercept: (request: FakeRequest) => FakeAnswer | undefined = () => undefined;
  private version = 0;

  constructor(private readonly namespace: string) {}

  static async start(namespace: string): Promise<FakeCluster> {
    const cluster = new FakeCluster(namespace);
    cluster.server = await FakeApiServer.start((request) => cluster.intercept(request) ?? cluster.answer(request));
    return cluster;
  }

  services(): StoredObject[] {
    return this.under(`/apis/serving.knative.dev/v1/namespaces/${this.namespace}/services`);
  }

  volumes(): StoredObject[] {
    return this.under(`/api/v1/namespaces/${this.namespace}/persistentvolumeclaims`);
  }

  pods(): StoredObject[] {
    return this.under(this.podPath);
  }

  put(path: string, object: StoredObject): StoredObject {
    this.version += 1;
    const stored = {
      ...object,
      metadata: {
        uid: randomUUID(),
        creationTimestamp: new Date().toISOString(),
        ...object.metadata,
        resourceVersion: String(this.version),
      },
    };
    this.objects.set(path, stored);
    return stored;
  }

  private get podPath(): string {
    return `/api/v1/namespaces/${this.namespace}/pods`;
  }

  private under(collection: string): StoredObject[] {
    return [...this.objects].filter(([path]) => path.startsWith(`${collection}/`)).map(([, object]) => object);
  }

  private answer(request: FakeRequest): FakeAnswer {
    const { method, path, body } = request;
    const found = this.objects.get(path);
    if (method === 'PATCH') return { body: this.apply(path, body as StoredObject, found) };
    if (method === 'DELETE')
      return this.delete(path, found, (body as { preconditions?: Partial<ObjectMeta> }).preconditions ?? {});
    if (method === 'POST') return this.create(path, body as StoredObject);
    if (found) return { body: found };
    if (!/\/(services|pods|persistentvolumeclaims)$/.test(path)) return NOT_FOUND;
    // A watch ends at once, and whoever watches lists again.
    if (request.query.has('watch')) return { body: { type: 'ERROR', object: {} } };
    return {
      body: { metadata: { resourceVersion: String(this.version) }, items: this.under(path).filter(selected(request)) },
    };
  }

  private create(collection: string, wanted: StoredObject): FakeAnswer {
    const path = `${collection}/${wanted.metadata.name}`;
    if (this.objects.has(path)) return { status: 409, body: { reason: 'AlreadyExists', message: 'exists' } };
    return { status: 201, body: this.put(path, wanted) };
  }

  private apply(path: string, wanted: StoredObject, found: StoredObject | undefined): StoredObject {
    const metadata = {
      ...wanted.metadata,
      uid: found?.metadata.uid ?? randomUUID(),
      generation: (found?.metadata.generation ?? 0) + 1,
    };
    if (!path.includes('/services/')) return this.put(path, { ...wanted, metadata });
    const { name } = metadata;
    const revision = `${name}-${metadata.generation}`;
    const url = `http://${name}.${this.namespace}.example`;
    this.put(`${this.podPath}/${revision}`, {
      metadata: {
        name: revision,
        labels: { 'serving.knative.dev/service': name, 'serving.knative.dev/revision': revision },
      },
      spec: { nodeName: 'node-a' },
      status: {
        conditions: [
          { type: 'PodScheduled', status: 'True' },
          { type: 'Ready', status: 'True' },
        ],
      },
    });
    const status = {
      observedGeneration: metadata.generation,
      url,
      address: { url },
      latestReadyRevisionName: revision,
      conditions: [{ type: 'Ready', status: 'True' }],
    };
    return this.put(path, { ...wanted, metadata, status });
  }

  private delete(
    path: string,
    found: StoredObject | undefined,
    { uid, resourceVersion }: Partial<ObjectMeta>,
  ): FakeAnswer {
    if (!found) return NOT_FOUND;
    const same =
      (uid === undefined || uid === found.metadata.uid) &&
      (resourceVersion === undefined || resourceVersion === found.metadata.resourceVersion);
    if (!same) return { status: 409, body: { reason: 'Conflict', message: 'another version' } };
    this.objects.delete(path);
    if (path.includes('/services/')) {
      for (const { metadata } of this.pods())
        if (metadata.labels?.['serving.knative.dev/service'] === found.metadata.name)
          this.objects.delete(`${this.podPath}/${metadata.name}`);
    }
    return { body: { status: 'Success' } };
  }
}

/** The label and field selectors that are used here. */
function selected({ query }: FakeRequest): (object: StoredObject) => boolean {
  const label = query.get('labelSelector') ?? '';
  const field = query.get('fieldSelector') ?? '';
  const [, key, list] = /^(\S+) in \((.*)\)$/.exec(label) ?? [];
  return ({ metadata }) => {
    const labels = metadata.labels ?? {};
    if (key !== undefined && !(list ?? '').split(',').includes(labels[key] ?? '')) return false;
    if (
      key === undefined &&
      label !== '' &&
      !label.split(',').every((pair) => labels[pair.split('=')[0]!] === pair.split('=')[1])
    )
      return false;
    return field === '' || field === `metadata.name=${metadata.name}`;
  };
}
