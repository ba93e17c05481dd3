import { conditionOf } from '../../../runtime/kubernetes/objects';
import type { KnativeService, Pod } from '../../../runtime/kubernetes/objects';
import { LoginStage } from '../../../proto/gen/licensing/v1/login';

/** Why an enclave can't start, in words that its user may read. `waits` marks what may still change by itself. */
export interface StartFailure {
  code: 'enclave_image' | 'no_node' | 'no_volume' | 'quota' | 'enclave_crashes' | 'enclave_refused';
  message: string;
  waits: boolean;
}

const IMAGE_REASONS = [
  'ErrImagePull',
  'ImagePullBackOff',
  'InvalidImageName',
  'ErrImageNeverPull',
  'ImageInspectError',
];
const CRASH_REASONS = ['CrashLoopBackOff', 'CreateContainerConfigError', 'CreateContainerError', 'RunContainerError'];
/** A container that waits longer than this for its start waits for its image: making the sandbox takes less. */
const SANDBOX_MS = 1_500;

/** The Service has seen its newest spec and says that it is ready. */
export function isReady(service: KnativeService): boolean {
  return (
    service.status?.observedGeneration === service.metadata.generation &&
    conditionOf(service.status?.conditions, 'Ready')?.status === 'True'
  );
}

/** What a starting pod waits for; undefined before it has a node. */
export function stageOf(pod: Pod, now: Date): LoginStage | undefined {
  const scheduled = conditionOf(pod.status?.conditions, 'PodScheduled');
  if (scheduled?.status !== 'True') return undefined;
  const containers = pod.status?.containerStatuses ?? [];
  if (containers.length > 0 && containers.every(({ state }) => state?.running)) return LoginStage.LOGIN_STAGE_STARTING;
  const age = now.getTime() - Date.parse(pod.metadata.creationTimestamp ?? now.toISOString());
  return age > SANDBOX_MS && containers.some(({ state }) => state?.waiting)
    ? LoginStage.LOGIN_STAGE_PULLING
    : LoginStage.LOGIN_STAGE_SCHEDULED;
}

/** What keeps the newest revision from starting; undefined while nothing does. Messages hold no names of nodes, images or limits. */
export function failureOf(service: KnativeService | undefined, pods: Pod[]): StartFailure | undefined {
  for (const pod of pods) {
    if (pod.metadata.deletionTimestamp !== undefined) continue;
    for (const { state, lastState, restartCount } of pod.status?.containerStatuses ?? []) {
      const reason = state?.waiting?.reason ?? '';
      if (IMAGE_REASONS.includes(reason)) {
        return {
          code: 'enclave_image',
          message: "the enclave's image can't be fetched",
          waits: reason === 'ErrImagePull',
        };
      }
      if (CRASH_REASONS.includes(reason) || (lastState?.terminated && (restartCount ?? 0) > 1)) {
        return { code: 'enclave_crashes', message: 'the enclave ends as soon as it starts', waits: false };
      }
    }
    const scheduled = conditionOf(pod.status?.conditions, 'PodScheduled');
    if (scheduled?.status === 'False' && scheduled.reason === 'Unschedulable') {
      if (/persistentvolumeclaim/i.test(scheduled.message ?? ''))
        return { code: 'no_volume', message: "the enclave's volume can't be had", waits: true };
      return { code: 'no_node', message: 'no node with a TPM has room for the enclave', waits: true };
    }
  }
  const ready = conditionOf(service?.status?.conditions, 'ConfigurationsReady');
  if (service?.status?.observedGeneration !== service?.metadata.generation || ready?.status !== 'False')
    return undefined;
  if (/quota/i.test(ready.message ?? ''))
    return { code: 'quota', message: 'the cluster has no room for another enclave', waits: false };
  if (/unschedulable|nodes are available/i.test(`${ready.reason} ${ready.message}`)) {
    return { code: 'no_node', message: 'no node with a TPM has room for the enclave', waits: true };
  }
  if (/image/i.test(ready.message ?? ''))
    return { code: 'enclave_image', message: "the enclave's image can't be fetched", waits: false };
  return { code: 'enclave_refused', message: 'the cluster refuses to run the enclave', waits: true };
}
