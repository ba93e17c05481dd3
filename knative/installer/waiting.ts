import type { KubernetesApi } from '../../runtime/kubernetes/api';
import { conditionOf } from '../../runtime/kubernetes/objects';
import type { Condition, KnativeService, List, ObjectMeta, Pod } from '../../runtime/kubernetes/objects';
import { systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';
import { ATTESTORS, SERVICES } from './keys';
import { CodedError } from '../../errors/coded-error';

/** Between two looks. */
const LOOK_MS = 2_000;

/** Something that the installation waits for. */
export interface Part {
  kind: 'StatefulSet' | 'DaemonSet' | 'Knative Service';
  namespace: string;
  name: string;
  /** An address alone, which Knative gives before anything runs. */
  address?: boolean;
}

interface WaitOptions {
  /** For each part, from the last one on that became ready. */
  timeoutMs: number;
  say(line: string): void;
  /** The system's, unless told. */
  clock?: Clock;
}

/** A part of the installation was not ready in time; the message says which object waits for what. */
export class NotReadyError extends CodedError<'install.not_ready'> {
  override readonly name = 'NotReadyError';
}

interface Workload {
  metadata: ObjectMeta;
  spec?: { replicas?: number };
  status?: {
    observedGeneration?: number;
    readyReplicas?: number;
    updatedReplicas?: number;
    desiredNumberScheduled?: number;
    updatedNumberScheduled?: number;
    numberAvailable?: number;
  };
}

interface Claim {
  metadata: ObjectMeta;
  status?: { phase?: string };
}

/** v1 Event. */
interface KubernetesEvent {
  metadata: ObjectMeta;
  type?: string;
  reason?: string;
  message?: string;
  involvedObject: { kind?: string; name?: string; uid?: string };
  lastTimestamp?: string | null;
  eventTime?: string | null;
}

const COLLECTIONS: Record<Part['kind'], (namespace: string) => string> = {
  StatefulSet: (namespace) => `/apis/apps/v1/namespaces/${namespace}/statefulsets`,
  DaemonSet: (namespace) => `/apis/apps/v1/namespaces/${namespace}/daemonsets`,
  'Knative Service': (namespace) => `/apis/serving.knative.dev/v1/namespaces/${namespace}/services`,
};

/**
 * Waits until all parts are ready. Meanwhile it says, once each, which object waits for what: by the conditions of the parts and their pods, and by the events about
 * them and their claims.
 * @throws NotReadyError after `timeoutMs`; KubernetesError
 */
export async function waitUntilReady(
  api: KubernetesApi,
  parts: readonly Part[],
  { timeoutMs, say, clock = systemClock }: WaitOptions,
): Promise<void> {
  let end = clock.monotonic() + timeoutMs;
  let before = parts.length;
  const said = new Set<string>();
  for (;;) {
    const waiting = await waitingParts(api, parts);
    if (waiting.length === 0) return;
    if (waiting.length < before) end = clock.monotonic() + timeoutMs;
    before = waiting.length;
    const lines = waiting.map(({ part, reasons }) => `${nameOf(part)} waits for ${reasons.join('; ')}`);
    if (clock.monotonic() >= end)
      throw new NotReadyError(
        'install.not_ready',
        `expected all parts to be ready within ${timeoutMs / 1000} s each, got: ${lines.join('. ')}`,
      );
    for (const line of lines) {
      if (!said.has(line)) say(line);
      said.add(line);
    }
    await clock.sleep(LOOK_MS);
  }
}

/** All that an installation waits for at its end. @throws as waitUntilReady */
export async function untilInstalled(api: KubernetesApi, options: WaitOptions): Promise<void> {
  const postgres: Part = { kind: 'StatefulSet', namespace: SERVICES, name: 'postgres' };
  const isHere = (await api.find(`${COLLECTIONS.StatefulSet(SERVICES)}/${postgres.name}`)) !== undefined;
  const services = ['signup', 'login', 'enrol', 'admin'].map((name): Part => ({
    kind: 'Knative Service',
    namespace: SERVICES,
    name,
  }));
  const attestors: Part = { kind: 'DaemonSet', namespace: ATTESTORS, name: 'attestor' };
  await waitUntilReady(api, [...(isHere ? [postgres] : []), ...services, attestors], options);
}

/** The address that Knative gives a Service. @throws as waitUntilReady */
export async function addressOf(api: KubernetesApi, name: string, options: WaitOptions): Promise<string> {
  const part: Part = { kind: 'Knative Service', namespace: SERVICES, name, address: true };
  await waitUntilReady(api, [part], options);
  const { status } = await api.get<KnativeService>(`${COLLECTIONS[part.kind](SERVICES)}/${name}`);
  const url = new URL(status?.url ?? '');
  return `${url.protocol}//${url.host}${url.port === '' ? (url.protocol === 'https:' ? ':443' : ':80') : ''}`;
}

const nameOf = ({ kind, namespace, name }: Part): string => `${kind} ${namespace}/${name}`;

async function waitingParts(
  api: KubernetesApi,
  parts: readonly Part[],
): Promise<Array<{ part: Part; reasons: string[] }>> {
  const waiting: Array<{ part: Part; reasons: string[] }> = [];
  const places = new Map<string, Surroundings>();
  for (const part of parts) {
    const object = await api.find<Workload & KnativeService>(`${COLLECTIONS[part.kind](part.namespace)}/${part.name}`);
    if (object && isReady(part, object)) continue;
    if (!object) {
      waiting.push({ part, reasons: ['itself: it is not there yet'] });
      continue;
    }
    const place = places.get(part.namespace) ?? (await surroundings(api, part.namespace));
    places.set(part.namespace, place);
    waiting.push({ part, reasons: reasonsOf(part, object, place) });
  }
  return waiting;
}

function isReady({ kind, address }: Part, { metadata, spec, status }: Workload & KnativeService): boolean {
  if (address) return status?.url !== undefined;
  if (status?.observedGeneration !== metadata.generation) return false;
  switch (kind) {
    case 'StatefulSet':
      return status?.readyReplicas === (spec.replicas ?? 1) && status?.updatedReplicas === (spec.replicas ?? 1);
    case 'DaemonSet':
      return (
        (status?.updatedNumberScheduled ?? 0) === status?.desiredNumberScheduled &&
        (status?.numberAvailable ?? 0) === status?.desiredNumberScheduled
      );
    case 'Knative Service':
      return conditionOf(status?.conditions, 'Ready')?.status === 'True';
  }
}

/** What there is in a namespace that may say why. */
interface Surroundings {
  pods: Pod[];
  claims: Claim[];
  /** The newest last. */
  events: KubernetesEvent[];
}

async function surroundings(api: KubernetesApi, namespace: string): Promise<Surroundings> {
  const list = async <T>(name: string): Promise<T[]> =>
    (await api.get<List<T>>(`/api/v1/namespaces/${namespace}/${name}`)).items;
  const events = await list<KubernetesEvent>('events');
  return {
    pods: await list<Pod>('pods'),
    claims: await list<Claim>('persistentvolumeclaims'),
    events: events.sort((a, b) => timeOf(a) - timeOf(b)),
  };
}

function timeOf({ lastTimestamp, eventTime, metadata }: KubernetesEvent): number {
  return Date.parse(lastTimestamp ?? eventTime ?? metadata.creationTimestamp ?? '') || 0;
}

/** The nearest to the cause first: claims, pods, then what the part itself says. */
function reasonsOf(part: Part, object: Workload & KnativeService, place: Surroundings): string[] {
  const pods = place.pods.filter((pod) => pod.metadata.deletionTimestamp === undefined && isOf(part, pod));
  const claims = new Set(
    pods.flatMap(({ spec }) =>
      (spec?.volumes ?? []).flatMap(({ persistentVolumeClaim }) => persistentVolumeClaim?.claimName ?? []),
    ),
  );
  const reasons = [
    ...place.claims
      .filter(({ metadata }) => claims.has(metadata.name))
      .flatMap((claim) => ofClaim(claim, place.events)),
    ...pods.flatMap((pod) => ofPod(pod, place.events)),
  ];
  if (reasons.length > 0) return reasons;
  const own = warningAbout(part.kind === 'Knative Service' ? 'Service' : part.kind, part.name, place.events);
  const conditions = part.kind === 'Knative Service' ? ofConditions(object.status?.conditions) : [];
  if (conditions.length > 0) return conditions;
  if (own !== undefined) return [own];
  return [pods.length === 0 ? 'its first pod' : `its ${pods.length === 1 ? 'pod' : 'pods'} to be ready`];
}

function isOf({ kind, name }: Part, { metadata: { labels = {}, ownerReferences = [] } }: Pod): boolean {
  if (kind === 'Knative Service') return labels['serving.knative.dev/service'] === name;
  return ownerReferences.some((owner) => owner.kind === kind && owner.name === name);
}

function ofClaim({ metadata, status }: Claim, events: KubernetesEvent[]): string[] {
  if (status?.phase === 'Bound') return [];
  const why = lastAbout('PersistentVolumeClaim', metadata.name, events);
  return [
    `PersistentVolumeClaim ${metadata.name}, which is ${status?.phase ?? 'new'}${why === undefined ? '' : ` (${why})`}`,
  ];
}

function ofPod(pod: Pod, events: KubernetesEvent[]): string[] {
  const { name } = pod.metadata;
  const { conditions, containerStatuses = [], initContainerStatuses = [] } = pod.status ?? {};
  if (conditionOf(conditions, 'Ready')?.status === 'True') return [];
  const scheduled = conditionOf(conditions, 'PodScheduled');
  if (scheduled?.status === 'False')
    return [`pod ${name}, which no node takes (${scheduled.message ?? scheduled.reason ?? 'no reason'})`];
  const event = warningAbout('Pod', name, events);
  for (const { name: container, state, lastState } of [...initContainerStatuses, ...containerStatuses]) {
    const { reason, message } = state?.waiting ?? {};
    if (reason === undefined || reason === 'PodInitializing') continue;
    if (reason === 'ContainerCreating') break;
    const ended = lastState?.terminated;
    const before = ended ? `, it ended with exit code ${ended.exitCode ?? 'unknown'} before` : '';
    return [`pod ${name}, container ${container}: ${reason}${message === undefined ? '' : ` (${message})`}${before}`];
  }
  return [`pod ${name} to be ready${event === undefined ? '' : ` (${event})`}`];
}

/** Of a Knative Service: what is about its pods, or about its ingress. */
function ofConditions(conditions: Condition[] = []): string[] {
  return conditions
    .filter(({ type, status }) => type !== 'Ready' && status !== 'True')
    .map(({ type, reason, message }) => `${type}: ${[reason, message].filter(Boolean).join(': ') || 'not yet'}`);
}

function warningAbout(kind: string, name: string, events: KubernetesEvent[]): string | undefined {
  return lastAbout(
    kind,
    name,
    events.filter(({ type }) => type === 'Warning'),
  );
}

function lastAbout(kind: string, name: string, events: KubernetesEvent[]): string | undefined {
  const event = events.findLast(({ involvedObject }) => involvedObject.kind === kind && involvedObject.name === name);
  return event && `${event.reason ?? 'no reason'}: ${(event.message ?? '').replace(/\s*\n\s*/g, ' ').trim()}`;
}

/**
 * A duration as kubectl takes it (Go, time.ParseDuration): 180s, 3m, 1h30m.
 * @returns milliseconds
 * @throws TypeError
 */
export function parseDuration(text: string): number {
  const units: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== text)
    throw new TypeError(`expected a duration such as 180s or 3m, got ${JSON.stringify(text)}`);
  return parts.reduce((sum, [, digits, unit = '']) => sum + Number(digits) * (units[unit] ?? 0), 0);
}
