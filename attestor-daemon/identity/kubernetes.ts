import { status } from '@grpc/grpc-js';
import { decodeJwt } from 'jose';
import { readEnvironment } from '../../runtime/config/environment';
import { KubernetesApi } from '../../runtime/kubernetes/api';
import { ENCLAVE_ANNOTATION, USER_ANNOTATION } from '../../runtime/kubernetes/objects';
import type { Pod, TokenReview } from '../../runtime/kubernetes/objects';
import { RpcError } from '../../runtime/rpc/errors';
import type { Workload, WorkloadIdentifier, KnownWorkload } from './identity';
import { runsForeignCode } from './foreign-code';
import { kubernetesIdentitySettings } from './kubernetes-settings';
import { systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';
import type { AttestorCode } from '../../errors/attestor';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';

/** Audience of the tokens that enclaves mount for the attestor. */
const TOKEN_AUDIENCE = 'attestor';
/** Container names in a Knative pod: the enclave's own, and Knative's proxy. */
const ENCLAVE_CONTAINER = 'user-container';
const EXPECTED_CONTAINERS = [ENCLAVE_CONTAINER, 'queue-proxy'];
/** The kubelet reports a container's start up to a second after it; a busy API server adds to that. */
const START_PATIENCE_MS = 15_000;
/** A start is waited for by a user; asking takes the API server a few milliseconds. */
const RETRY_MS = 25;
const MAX_TOKEN_LENGTH = 8 * 1024;

interface KubernetesIdentityOptions {
  api: KubernetesApi;
  node: string;
  namespace: string;
  serviceAccount: string;
  imageDigests: string[];
  patienceMs?: number;
  /** Silent, unless told. */
  log?: Logger;
  /** The system's, unless told. */
  clock?: Clock;
}

/** Reads `kubernetesIdentitySettings` and the credentials of the pod. */
export async function kubernetesIdentity({
  env = process.env,
  ...program
}: { env?: NodeJS.ProcessEnv; log?: Logger; clock?: Clock } = {}): Promise<WorkloadIdentifier> {
  const settings = readEnvironment(kubernetesIdentitySettings, env);
  return new KubernetesIdentity({
    ...program,
    api: await KubernetesApi.inCluster(env),
    node: settings.NODE_NAME,
    namespace: settings.ENCLAVE_NAMESPACE,
    serviceAccount: settings.ENCLAVE_SERVICE_ACCOUNT,
    imageDigests: settings.ENCLAVE_IMAGES,
  });
}

interface Caller {
  pod: string;
  uid: string;
  expiresAt?: number;
}

/**
 * A pod by its projected service account token. Who it is comes from the API server in three steps:
 * 1. TokenReview: a live token, made for the attestor, of the enclaves' service account, bound to a pod on this node.
 * 2. The pod: the same UID, on this node, not ending, running nothing but the enclave and Knative's proxy.
 * 3. Its user and its name (annotations) and its image (what the container runtime says that it runs), which must be an allowed one, running as it is.
 */
export class KubernetesIdentity implements WorkloadIdentifier {
  constructor(private readonly options: KubernetesIdentityOptions) {}

  async identify(credential: string): Promise<Workload> {
    const caller = await this.review(credential);
    const { pod, imageDigest } = await this.running(caller);
    const user = pod.metadata.annotations?.[USER_ANNOTATION];
    if (!user) throw denied('attestor.no_user', "the pod is nobody's enclave");
    if (!this.options.imageDigests.includes(imageDigest))
      throw denied('attestor.wrong_image', "the pod runs another image than the enclave's");
    if (runsForeignCode(pod, ENCLAVE_CONTAINER))
      throw denied('attestor.foreign_code', 'the pod runs something else than the program of its image');
    const enclave = pod.metadata.annotations?.[ENCLAVE_ANNOTATION];
    return {
      user,
      enclave,
      workloadUid: caller.uid,
      name: caller.pod,
      imageDigest,
      node: this.options.node,
      expiresAt: caller.expiresAt,
    };
  }

  async isGone({ name, workloadUid }: KnownWorkload): Promise<boolean> {
    const pod = await this.find(name);
    return pod?.metadata.uid !== workloadUid;
  }

  private async review(token: string): Promise<Caller> {
    const refused = (why: string): RpcError =>
      new RpcError(
        'attestor.token_refused',
        status.UNAUTHENTICATED,
        'the token is not one for the attestor, or no longer good',
        { cause: why },
      );
    if (token === '' || token.length > MAX_TOKEN_LENGTH) throw refused('length');
    const review = await this.ask(() =>
      this.options.api.review<TokenReview>('/apis/authentication.k8s.io/v1/tokenreviews', {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenReview',
        spec: { token, audiences: [TOKEN_AUDIENCE] },
      }),
    );
    const { authenticated, audiences, user, error } = review.status ?? {};
    if (authenticated !== true || !audiences?.includes(TOKEN_AUDIENCE)) throw refused(error ?? 'audience');

    const { namespace, serviceAccount, node } = this.options;
    if (user?.username !== `system:serviceaccount:${namespace}:${serviceAccount}`) {
      throw denied('attestor.wrong_account', "the token is of another service account than the enclaves'");
    }
    const extra = (name: string): string | undefined => user.extra?.[`authentication.kubernetes.io/${name}`]?.[0];
    const pod = extra('pod-name');
    const uid = extra('pod-uid');
    if (!pod || !uid) throw denied('attestor.no_pod', 'the token is not bound to a pod');
    if (extra('node-name') !== node) throw denied('attestor.other_node', 'the pod is on another node');
    return { pod, uid, expiresAt: decodeJwt(token).exp };
  }

  private find(pod: string): Promise<Pod | undefined> {
    const { api, namespace } = this.options;
    return this.ask(() => api.find<Pod>(`/api/v1/namespaces/${namespace}/pods/${encodeURIComponent(pod)}`));
  }

  private async running(caller: Caller): Promise<{ pod: Pod; imageDigest: string }> {
    const { node, patienceMs = START_PATIENCE_MS, clock = systemClock } = this.options;
    const deadline = clock.monotonic() + patienceMs;
    for (;;) {
      const pod = await this.find(caller.pod);
      if (pod === undefined || pod.metadata.uid !== caller.uid)
        throw denied('attestor.pod_gone', 'the pod no longer exists');
      if (pod.metadata.deletionTimestamp !== undefined) throw denied('attestor.pod_ending', 'the pod is being deleted');
      if (pod.spec?.nodeName !== node) throw denied('attestor.other_node', 'the pod is on another node');
      if (pod.status?.phase === 'Failed' || pod.status?.phase === 'Succeeded')
        throw denied('attestor.pod_ended', 'the pod has ended');
      const names = (pod.spec.containers ?? []).map(({ name }) => name);
      const guests = [...(pod.spec.initContainers ?? []), ...(pod.spec.ephemeralContainers ?? [])];
      if (guests.length > 0 || names.some((name) => !EXPECTED_CONTAINERS.includes(name))) {
        throw denied('attestor.foreign_container', "the pod holds other containers than an enclave's");
      }
      const container = pod.status?.containerStatuses?.find(({ name }) => name === ENCLAVE_CONTAINER);
      const imageDigest = /@(sha256:[0-9a-f]{64})$/.exec(container?.imageID ?? '')?.[1];
      if (container?.state?.running && imageDigest) return { pod, imageDigest };
      if (clock.monotonic() > deadline)
        throw new RpcError('attestor.pod_starting', status.UNAVAILABLE, 'the pod does not run yet');
      await clock.sleep(RETRY_MS);
    }
  }

  private async ask<T>(question: () => Promise<T>): Promise<T> {
    try {
      return await question();
    } catch (cause) {
      (this.options.log ?? silent).error({ err: cause }, 'the API server does not answer');
      throw new RpcError('attestor.cluster_unavailable', status.UNAVAILABLE, 'the API server does not answer', {
        cause,
      });
    }
  }
}

function denied(code: AttestorCode, message: string): RpcError {
  return new RpcError(code, status.PERMISSION_DENIED, message);
}
