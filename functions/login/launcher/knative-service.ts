import { createHash, createHmac } from 'node:crypto';
import { ENCLAVE_LABEL, USER_ANNOTATION } from '../../../core/kubernetes/objects';
import type { KnativeService, Pod } from '../../../core/kubernetes/objects';

/** Annotation of the Service: hash of what it was made from. */
export const TEMPLATE_ANNOTATION = 'licensing/template';
/** Annotation of the Service: RFC 3339 time of a recent login. */
export const LAST_USED_ANNOTATION = 'licensing/last-used';
/** Owner of the fields that login sets (server-side apply). */
export const FIELD_MANAGER = 'licensing-login';
/** Last use is written down again when it is older than this. */
export const LAST_USED_PRECISION_MS = 60 * 60 * 1000;

const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';
const NAME_CHARACTERS = 20;

/**
 * The enclave's name: a keyed hash of the user's id, 100 bits in lower-case base32 (RFC 4648), valid as a DNS label. It tells nothing
 * about the user, nobody without the key can guess it, and no two ids meet in one name by their characters.
 */
export function enclaveName(key: Buffer, user: string): string {
  const digest = createHmac('sha256', key).update('enclave name v1\0').update(user).digest();
  let bits = 0n;
  for (const byte of digest.subarray(0, 13)) bits = (bits << 8n) | BigInt(byte);
  let name = '';
  for (let index = 0; index < NAME_CHARACTERS; index += 1) {
    name = (BASE32[Number(bits & 31n)] ?? '') + name;
    bits >>= 5n;
  }
  return `enclave-${name}`;
}

/** What every enclave of this installation has in common. */
export interface EnclaveKind {
  namespace: string;
  template: KnativeService;
  /** REPOSITORY@sha256:HEX. */
  image: string;
  trustDomain: string;
  nodeSelector?: Record<string, string>;
  runtimeClass?: string;
}

/**
 * The Knative Service of one user's enclave, from the operator's template. The name, the user and the image are set here whatever
 * the template says; scale is held to one pod at most, and none when nobody uses it.
 */
export function enclaveService(
  { namespace, template, image, trustDomain, nodeSelector, runtimeClass }: EnclaveKind,
  { name, user, now }: { name: string; user: string; now: Date },
): KnativeService {
  const own = [
    { name: 'ENCLAVE_USER', value: user },
    { name: 'TRUST_DOMAIN', value: trustDomain },
  ];
  const { containers, ...pod } = structuredClone(template.spec.template.spec);
  const [container, ...others] = containers;
  if (container === undefined || others.length > 0) throw new Error(`expected one container in the enclave's template, got ${containers.length}`);
  const env = (container.env ?? []).filter((variable) => !own.some(({ name }) => name === variable.name));
  if (nodeSelector) pod.nodeSelector = { ...(pod.nodeSelector as Record<string, string> | undefined), ...nodeSelector };
  if (runtimeClass !== undefined) pod.runtimeClassName = runtimeClass;
  const service: KnativeService = {
    apiVersion: 'serving.knative.dev/v1',
    kind: 'Service',
    metadata: {
      name,
      namespace,
      labels: { ...template.metadata?.labels, ...ENCLAVE_LABEL },
      annotations: { ...template.metadata?.annotations, [USER_ANNOTATION]: user },
    },
    spec: {
      template: {
        metadata: {
          labels: { ...template.spec.template.metadata?.labels, ...ENCLAVE_LABEL },
          annotations: {
            ...template.spec.template.metadata?.annotations,
            'autoscaling.knative.dev/min-scale': '0',
            'autoscaling.knative.dev/max-scale': '1',
            [USER_ANNOTATION]: user,
          },
        },
        spec: { ...pod, containers: [{ ...container, image, env: [...env, ...own] }] },
      },
    },
  };
  const hash = createHash('sha256').update(JSON.stringify(service)).digest('hex').slice(0, 32);
  service.metadata.annotations = {
    ...service.metadata.annotations,
    [TEMPLATE_ANNOTATION]: hash,
    [LAST_USED_ANNOTATION]: now.toISOString(),
  };
  return service;
}

/** True when the Service in the cluster needs no change: made from the same template, its use written down, not going away. */
export function isCurrent(found: KnativeService | undefined, wanted: KnativeService, now: Date): boolean {
  if (found === undefined || found.metadata.deletionTimestamp !== undefined) return false;
  const annotations = found.metadata.annotations ?? {};
  if (annotations[TEMPLATE_ANNOTATION] !== wanted.metadata.annotations?.[TEMPLATE_ANNOTATION]) return false;
  return now.getTime() - Date.parse(annotations[LAST_USED_ANNOTATION] ?? '') < LAST_USED_PRECISION_MS;
}

/** The pod that requests reach: ready, not ending, of the revision that serves. */
export function servingPod(service: KnativeService, pods: Pod[]): Pod | undefined {
  return current(service, pods).find((pod) => pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True'));
}

/** The pod that has answered through the route, ready by the kubelet's word or not yet: the only one there is, with an address, of the revision that serves. */
export function answeringPod(service: KnativeService, pods: Pod[]): Pod | undefined {
  const [pod, ...others] = current(service, pods);
  return others.length === 0 && pod?.status?.podIP ? pod : undefined;
}

function current(service: KnativeService, pods: Pod[]): Pod[] {
  return pods.filter(
    ({ metadata }) => metadata.deletionTimestamp === undefined && metadata.labels?.['serving.knative.dev/revision'] === service.status?.latestReadyRevisionName,
  );
}
