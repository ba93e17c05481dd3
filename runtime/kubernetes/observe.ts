import type { KubernetesApi } from './api';
import type { List, ObjectMeta } from './objects';
import { systemClock } from '../clock';

/**
 * The objects of a collection, all of them, now and after every change, until the signal aborts. A watch that ends is begun again.
 * @param query such as { labelSelector: 'app=x' }
 * @throws KubernetesError when listing is refused
 */
export async function* observe<T extends { metadata: ObjectMeta }>(
  api: KubernetesApi,
  path: string,
  query: Record<string, string>,
  signal: AbortSignal,
): AsyncGenerator<T[]> {
  while (!signal.aborted) {
    const list = await api.get<List<T>>(path, { query, signal });
    const objects = new Map(list.items.map((item) => [item.metadata.name, item]));
    yield [...objects.values()];
    try {
      const from = { ...query, resourceVersion: list.metadata.resourceVersion ?? '0' };
      for await (const { type, object } of api.watch<T>(path, from, signal)) {
        if (type === 'BOOKMARK') continue;
        if (type === 'DELETED') objects.delete(object.metadata.name);
        else objects.set(object.metadata.name, object);
        yield [...objects.values()];
      }
    } catch {
      if (signal.aborted) return;
    }
    await systemClock.sleep(200, signal).catch(() => undefined);
  }
}
