import { createHmac } from 'node:crypto';
import { sha256Hex } from '../../../attestation/crypto';
import {
  conditionOf,
  ENCLAVE_ANNOTATION,
  ENCLAVE_LABEL,
  INSTALLATION_ANNOTATION,
  USER_ANNOTATION,
} from '../../../runtime/kubernetes/objects';
import type { KnativeService, PersistentVolumeClaim, Pod, Resources } from '../../../runtime/kubernetes/objects';
import { parseQuantity } from '../../../runtime/kubernetes/quantity';
import type { EnclavePlan } from './launcher';
import { DEFAULT_ENCLAVE } from '../../../attestation/evidence/enclave-name';
import type { EnclaveId } from '../../../attestation/evidence/enclave-name';

/** Annotation of the Service: hash of what it was made from. */
const TEMPLATE_ANNOTATION = 'licensing/template';
/** Annotation of the Service: RFC 3339 time of a recent login. */
export const LAST_USED_ANNOTATION = 'licensing/last-used';
/** Owner of the fields that login sets (server-side apply). */
export const FIELD_MANAGER = 'licensing-login';
/** Last use is written down again when it is older than this. */
const LAST_USED_PRECISION_MS = 60 * 60 * 1000;

const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';
const NAME_CHARACTERS = 20;

/**
 * The name of an enclave's objects: a keyed hash of the user's id and of the enclave's own name, 100 bits in lower-case base32 (RFC 4648), valid as a
 * DNS label. It tells nothing about either, nobody without the key can guess it, and no two enclaves meet in one by their characters: the id's length
 * stands before it. The default enclave has the name that users' only ones had.
 */
export function enclaveName(key: Buffer, { user, name }: EnclaveId): string {
  const hmac = createHmac('sha256', key);
  if (name === DEFAULT_ENCLAVE) hmac.update('enclave name v1\0').update(user);
  else {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(Buffer.byteLength(user));
    hmac.update('enclave name v2\0').update(length).update(user).update(name);
  }
  const digest = hmac.digest();
  let bits = 0n;
  for (const byte of digest.subarray(0, 13)) bits = (bits << 8n) | BigInt(byte);
  let text = '';
  for (let index = 0; index < NAME_CHARACTERS; index += 1) {
    text = (BASE32[Number(bits & 31n)] ?? '') + text;
    bits >>= 5n;
  }
  return `enclave-${text}`;
}

/** What is written on an enclave's objects beside whose it is. */
interface Marks {
  /** Id of the installation that makes them. */
  installation: string;
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
  /** A volume for each enclave in place of the template's `workspace`; left out: files end with the pod. */
  volume?: { size: string; storageClass?: string };
}

/** Name of the template's volume that holds the workspace. */
const WORKSPACE_VOLUME = 'workspace';

const annotationsOf = ({ user, name }: EnclaveId): Record<string, string> => ({
  [USER_ANNOTATION]: user,
  [ENCLAVE_ANNOTATION]: name,
});

/**
 * The limits of the user's licence in place of the template's. What the template requests for an enclave is less where the licence gives less: Kubernetes
 * refuses a request above its limit.
 */
function withPlan({ requests = {}, limits = {}, ...rest }: Resources, { cpu, memory }: EnclavePlan): Resources {
  const own = Object.entries({ cpu, memory }).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const lowered = own.filter(
    ([name, limit]) => requests[name] !== undefined && parseQuantity(String(requests[name])) > parseQuantity(limit),
  );
  return {
    ...rest,
    requests: { ...requests, ...Object.fromEntries(lowered) },
    limits: { ...limits, ...Object.fromEntries(own) },
  };
}

/**
 * The Knative Service of one enclave, from the operator's template. Its names, the user and the image are set here whatever
 * the template says; scale is held to one pod at most, and none when nobody uses it.
 */
export function enclaveService(
  { namespace, template, image, trustDomain, nodeSelector, runtimeClass, volume }: EnclaveKind,
  {
    name,
    enclave,
    installation,
    now,
    plan = {},
  }: Marks & { name: string; enclave: EnclaveId; now: Date; plan?: EnclavePlan },
): KnativeService {
  const own = [
    { name: 'ENCLAVE_USER', value: enclave.user },
    { name: 'TRUST_DOMAIN', value: trustDomain },
  ];
  const { containers, ...pod } = structuredClone(template.spec.template.spec);
  const [container, ...others] = containers;
  if (container === undefined || others.length > 0)
    throw new Error(`expected one container in the enclave's template, got ${containers.length}`);
  const env = (container.env ?? []).filter((variable) => !own.some(({ name }) => name === variable.name));
  if (nodeSelector) pod.nodeSelector = { ...(pod.nodeSelector as Record<string, string> | undefined), ...nodeSelector };
  if (runtimeClass !== undefined) pod.runtimeClassName = runtimeClass;
  if (volume) {
    const others = ((pod.volumes ?? []) as Array<{ name: string }>).filter((each) => each.name !== WORKSPACE_VOLUME);
    pod.volumes = [...others, { name: WORKSPACE_VOLUME, persistentVolumeClaim: { claimName: name } }];
  }
  const resources =
    plan.cpu === undefined && plan.memory === undefined ? {} : { resources: withPlan(container.resources ?? {}, plan) };
  const service: KnativeService = {
    apiVersion: 'serving.knative.dev/v1',
    kind: 'Service',
    metadata: {
      name,
      namespace,
      labels: { ...template.metadata?.labels, ...ENCLAVE_LABEL },
      annotations: { ...template.metadata?.annotations, ...annotationsOf(enclave) },
    },
    spec: {
      template: {
        metadata: {
          labels: { ...template.spec.template.metadata?.labels, ...ENCLAVE_LABEL },
          annotations: {
            ...template.spec.template.metadata?.annotations,
            'autoscaling.knative.dev/min-scale': '0',
            'autoscaling.knative.dev/max-scale': '1',
            ...annotationsOf(enclave),
          },
        },
        spec: { ...pod, containers: [{ ...container, ...resources, image, env: [...env, ...own] }] },
      },
    },
  };
  const hash = sha256Hex(JSON.stringify(service)).slice(0, 32);
  service.metadata.annotations = {
    ...service.metadata.annotations,
    [TEMPLATE_ANNOTATION]: hash,
    [LAST_USED_ANNOTATION]: now.toISOString(),
    [INSTALLATION_ANNOTATION]: installation,
  };
  return service;
}

/** The claim on an enclave's volume. It has no owner: it outlives the Service, which is deleted to end an enclave and made again by the next login. */
export function enclaveVolume(
  { namespace, volume }: EnclaveKind,
  { name, enclave, installation }: Marks & { name: string; enclave: EnclaveId },
): PersistentVolumeClaim {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name,
      namespace,
      labels: { ...ENCLAVE_LABEL },
      annotations: { ...annotationsOf(enclave), [INSTALLATION_ANNOTATION]: installation },
    },
    spec: {
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: volume?.size ?? '' } },
      ...(volume?.storageClass !== undefined && { storageClassName: volume.storageClass }),
    },
  };
}

/** True when the Service in the cluster needs no change: made from the same template, its use written down, not going away. */
export function isCurrent(found: KnativeService | undefined, wanted: KnativeService, now: Date): boolean {
  if (found === undefined || found.metadata.deletionTimestamp !== undefined) return false;
  const annotations = found.metadata.annotations ?? {};
  if (annotations[TEMPLATE_ANNOTATION] !== wanted.metadata.annotations?.[TEMPLATE_ANNOTATION]) return false;
  return now.getTime() - Date.parse(annotations[LAST_USED_ANNOTATION] ?? '') < LAST_USED_PRECISION_MS;
}

export function isPodReady({ status }: Pod): boolean {
  return conditionOf(status?.conditions, 'Ready')?.status === 'True';
}

/** The pod that requests reach: ready, not ending, of the revision that serves. */
export function servingPod(service: KnativeService, pods: Pod[]): Pod | undefined {
  return current(service, pods).find(isPodReady);
}

/** The pod that has answered through the route, ready by the kubelet's word or not yet: the only one there is, with an address, of the revision that serves. */
export function answeringPod(service: KnativeService, pods: Pod[]): Pod | undefined {
  const [pod, ...others] = current(service, pods);
  return others.length === 0 && pod?.status?.podIP ? pod : undefined;
}

function current(service: KnativeService, pods: Pod[]): Pod[] {
  return pods.filter(
    ({ metadata }) =>
      metadata.deletionTimestamp === undefined &&
      metadata.labels?.['serving.knative.dev/revision'] === service.status?.latestReadyRevisionName,
  );
}
