/** Annotation of an enclave's Service and of its pods: whose enclave it is. login writes it, the attestor believes it of the pod. */
export const USER_ANNOTATION = 'licensing/user';
/** Annotation beside it: the enclave's name among its user's. Left out: the default one, of before there were others. */
export const ENCLAVE_ANNOTATION = 'licensing/enclave';
/** Annotation of an enclave's Service and volume: id of the installation that made it, as its database has it. Left out: of before there were ids. */
export const INSTALLATION_ANNOTATION = 'licensing/installation';
/** Label of every enclave's Service and volume. */
export const ENCLAVE_LABEL = { 'app.kubernetes.io/component': 'enclave' };

/** The parts of Kubernetes and Knative objects that are read here. Everything that the API server may leave out is optional. */
export interface ObjectMeta {
  name: string;
  namespace?: string;
  uid?: string;
  generation?: number;
  resourceVersion?: string;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences?: Array<{ kind: string; name: string; uid?: string }>;
}

export interface Condition {
  type: string;
  /** "True", "False" or "Unknown". */
  status: string;
  reason?: string;
  message?: string;
}

interface ContainerStatus {
  name: string;
  ready?: boolean;
  restartCount?: number;
  /** REPOSITORY@sha256:HEX of what runs; empty until it does. */
  imageID?: string;
  state?: {
    waiting?: { reason?: string; message?: string };
    running?: { startedAt?: string };
    terminated?: { reason?: string; exitCode?: number };
  };
  lastState?: { terminated?: { reason?: string; exitCode?: number } };
}

export interface Container {
  name: string;
  command?: string[];
  args?: string[];
  env?: Array<{ name: string }>;
  envFrom?: object[];
  volumeMounts?: Array<{ name: string; mountPath: string }>;
  lifecycle?: { postStart?: { exec?: object }; preStop?: { exec?: object } };
  livenessProbe?: { exec?: object };
  readinessProbe?: { exec?: object };
  startupProbe?: { exec?: object };
}

export interface Pod {
  metadata: ObjectMeta;
  spec?: {
    nodeName?: string;
    serviceAccountName?: string;
    containers?: Container[];
    initContainers?: Array<{ name: string }>;
    ephemeralContainers?: Array<{ name: string }>;
    volumes?: Array<{ persistentVolumeClaim?: { claimName: string } }>;
  };
  status?: {
    phase?: string;
    podIP?: string;
    conditions?: Condition[];
    initContainerStatuses?: ContainerStatus[];
    containerStatuses?: ContainerStatus[];
  };
}

export interface ConfigMap {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
  data?: Record<string, string>;
  immutable?: boolean;
}

/** serving.knative.dev/v1 Service. */
export interface KnativeService {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
  spec: { template: { metadata?: Partial<ObjectMeta>; spec: PodTemplate } };
  status?: {
    observedGeneration?: number;
    url?: string;
    address?: { url?: string };
    latestReadyRevisionName?: string;
    latestCreatedRevisionName?: string;
    conditions?: Condition[];
  };
}

/** Quantities by resource; YAML may have them as numbers. */
export interface Resources {
  requests?: Record<string, string | number>;
  limits?: Record<string, string | number>;
  [field: string]: unknown;
}

interface PodTemplate {
  containers: Array<{
    name?: string;
    image?: string;
    env?: Array<{ name: string; value?: string }>;
    resources?: Resources;
    [field: string]: unknown;
  }>;
  [field: string]: unknown;
}

export interface PersistentVolumeClaim {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
  spec: { accessModes: string[]; resources: { requests: { storage: string } }; storageClassName?: string };
}

export interface List<T> {
  metadata: { resourceVersion?: string; continue?: string };
  items: T[];
}

/** authentication.k8s.io/v1. */
export interface TokenReview {
  spec: { token: string; audiences: string[] };
  status?: {
    authenticated?: boolean;
    audiences?: string[];
    error?: string;
    user?: { username?: string; extra?: Record<string, string[]> };
  };
}

export function conditionOf(conditions: Condition[] | undefined, type: string): Condition | undefined {
  return conditions?.find((condition) => condition.type === type);
}
