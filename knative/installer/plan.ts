import { kubectl } from '../../runtime/kubernetes/kubectl';

/** A Kubernetes object, as far as a plan looks at it. */
export interface KubernetesObject {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; [field: string]: unknown };
  [field: string]: unknown;
}

export interface Step {
  action: 'create' | 'change';
  /** KIND NAMESPACE/NAME */
  object: string;
  /** Path of each field that changes, with both values as JSON; none of a Secret's. */
  changes: Array<{ field: string; from?: string; to?: string }>;
}

/** Set by the API server for every object, whoever applies what. */
const SERVER_FIELDS = ['managedFields', 'resourceVersion', 'generation', 'uid', 'creationTimestamp', 'selfLink'];
/** Says who changed a Knative Service last, not what. */
const SERVER_ANNOTATIONS = ['serving.knative.dev/creator', 'serving.knative.dev/lastModifier'];
const MAX_VALUE_LENGTH = 120;

const nameOf = ({ kind, metadata: { namespace, name } }: KubernetesObject): string =>
  `${kind} ${namespace === undefined ? '' : `${namespace}/`}${name}`;
const keyOf = ({ apiVersion, ...object }: KubernetesObject): string =>
  `${apiVersion.split('/')[0]} ${nameOf(object as KubernetesObject)}`;

/**
 * What applying these objects would create and change, by the API server's own word (a dry run), object by object.
 * @throws KubectlError
 */
export async function plan(objects: readonly KubernetesObject[]): Promise<Step[]> {
  const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects });
  const live = itemsOf(await kubectl(['get', '-f', '-', '-o', 'json', '--ignore-not-found'], list));
  const namespaces = new Set(
    itemsOf(await kubectl(['get', 'namespaces', '-o', 'json'])).map(({ metadata }) => metadata.name),
  );
  // No dry run in a namespace that isn't there yet.
  const tried = objects.filter(({ metadata: { namespace } }) => namespace === undefined || namespaces.has(namespace));
  const dryRun = ['apply', '--server-side', '--force-conflicts', '--dry-run=server', '-o', 'json', '-f', '-'];
  const next = itemsOf(await kubectl(dryRun, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: tried })));
  return steps(objects, live, next);
}

/** `kubectl -o json` of several objects is a List, of one the object, of none nothing. */
function itemsOf(json: string): KubernetesObject[] {
  if (json.trim() === '') return [];
  const value = JSON.parse(json) as KubernetesObject & { items?: KubernetesObject[] };
  return value.kind === 'List' || value.kind.endsWith('List') ? (value.items ?? []) : [value];
}

/** @param live what is there @param next what would be there afterwards, by the API server */
export function steps(
  wanted: readonly KubernetesObject[],
  live: readonly KubernetesObject[],
  next: readonly KubernetesObject[],
): Step[] {
  const before = new Map(live.map((object) => [keyOf(object), object]));
  const after = new Map(next.map((object) => [keyOf(object), object]));
  return wanted.flatMap((object): Step[] => {
    const [from, to] = [before.get(keyOf(object)), after.get(keyOf(object))];
    if (from === undefined) return [{ action: 'create', object: nameOf(object), changes: [] }];
    const changes = to === undefined ? [] : differences(decided(from), decided(to));
    if (changes.length === 0) return [];
    return [{ action: 'change', object: nameOf(object), changes: object.kind === 'Secret' ? [] : changes }];
  });
}

/** What somebody decided of an object: neither its state nor what the server notes about it. */
function decided({ status: _, ...object }: KubernetesObject): unknown {
  const metadata = Object.fromEntries(
    Object.entries(object.metadata)
      .filter(([field]) => !SERVER_FIELDS.includes(field))
      .map(([field, value]) => [field, field === 'annotations' ? withoutServerAnnotations(value) : value]),
  );
  return { ...object, metadata };
}

function withoutServerAnnotations(annotations: unknown): unknown {
  return Object.fromEntries(
    Object.entries(annotations as Record<string, string>).filter(([name]) => !SERVER_ANNOTATIONS.includes(name)),
  );
}

type Change = Step['changes'][number];

function differences(from: unknown, to: unknown, field = ''): Change[] {
  if (JSON.stringify(from) === JSON.stringify(to)) return [];
  const [before, after] = [partsOf(from), partsOf(to)];
  if (before === undefined || after === undefined) return [{ field, from: shown(from), to: shown(to) }];
  const keys = [...new Set([...before.keys(), ...after.keys()])];
  return keys.flatMap((key) => differences(before.get(key), after.get(key), field + key));
}

/** The parts of a mapping or list by their path; a list of named things by their names. */
function partsOf(value: unknown): Map<string, unknown> | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  if (!Array.isArray(value)) return new Map(Object.entries(value).map(([key, part]) => [`.${key}`, part]));
  return new Map(
    value.map((part: unknown, index) => {
      const name = (part as { name?: unknown } | null)?.name;
      return [`[${typeof name === 'string' ? name : index}]`, part];
    }),
  );
}

function shown(value: unknown): string | undefined {
  const text = JSON.stringify(value) as string | undefined;
  return text !== undefined && text.length > MAX_VALUE_LENGTH ? `${text.slice(0, MAX_VALUE_LENGTH)}…` : text;
}
