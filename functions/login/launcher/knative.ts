import { status } from '@grpc/grpc-js';
import { load } from 'js-yaml';
import { readEnvironment, settingFileError } from '../../../runtime/config/environment';
import { readSettingFile, readSettingText } from '../../../runtime/config/listen';
import { KubernetesApi } from '../../../runtime/kubernetes/api';
import { deleteObjectsOf, enclaveCollections } from '../../../runtime/kubernetes/enclave-objects';
import { KubernetesError } from '../../../runtime/kubernetes/errors';
import type { KnativeService, List, PersistentVolumeClaim, Pod } from '../../../runtime/kubernetes/objects';
import { observe } from '../../../runtime/kubernetes/observe';
import { deadline } from '../../../runtime/rpc/deadline';
import { RpcError } from '../../../runtime/rpc/errors';
import { failureOf, isReady, stageOf } from './knative-progress';
import type { StartFailure } from './knative-progress';
import { endpointOf, wake } from './knative-route';
import {
  answeringPod,
  enclaveName,
  enclaveService,
  enclaveVolume,
  FIELD_MANAGER,
  isCurrent,
  isPodReady,
  servingPod,
} from './knative-service';
import type { EnclaveKind } from './knative-service';
import { knativeSettings } from './knative-settings';
import type { Enclave, EnclavePlan, Launcher, LaunchOptions, Running } from './launcher';
import { SharedStarts } from './shared-start';
import type { EnclaveId } from '../../../attestation/evidence/enclave-name';
import { dateOf, every, systemClock } from '../../../runtime/clock';
import type { Clock } from '../../../runtime/clock';
import { CodedError } from '../../../errors/coded-error';
import { silent } from '../../../runtime/log/log';
import type { Logger } from '../../../runtime/log/log';

export interface KnativeLauncherOptions {
  api: KubernetesApi;
  kind: EnclaveKind;
  nameKey: Buffer;
  /** Id of the installation, as its database has it. */
  installation: () => Promise<string>;
  startMs: number;
  scheduleMs: number;
  /** Silent, unless told. */
  log?: Logger;
  /** The system's, unless told. */
  clock?: Clock;
}

interface Seen {
  service?: KnativeService;
  pods: Pod[];
}

/** Loads the settings of `knativeSettings` and the credentials of the pod. @returns makes the launcher, once the installation is known @throws ConfigError */
export async function loadKnativeLauncher({
  env = process.env,
  ...program
}: {
  env?: NodeJS.ProcessEnv;
  log?: Logger;
  clock?: Clock;
}): Promise<(installation: () => Promise<string>) => Launcher> {
  const settings = readEnvironment(knativeSettings, env);
  const { NAME_KEY_FILE } = settings;
  const nameKey = await readSettingFile('NAME_KEY_FILE', NAME_KEY_FILE);
  if (nameKey.length < 32)
    throw settingFileError({ NAME_KEY_FILE }, `expected 32 bytes or more, got ${nameKey.length}`);
  const options = {
    ...program,
    api: await KubernetesApi.inCluster(env),
    kind: {
      namespace: settings.ENCLAVE_NAMESPACE,
      template: await readTemplate(settings),
      image: settings.ENCLAVE_IMAGE,
      trustDomain: settings.TRUST_DOMAIN,
      nodeSelector: settings.ENCLAVE_NODE_SELECTOR,
      runtimeClass: settings.ENCLAVE_RUNTIME_CLASS,
      ...(settings.ENCLAVE_VOLUME_SIZE !== undefined && {
        volume: { size: settings.ENCLAVE_VOLUME_SIZE, storageClass: settings.ENCLAVE_STORAGE_CLASS },
      }),
    },
    nameKey,
    startMs: settings.ENCLAVE_START_SECONDS * 1000,
    scheduleMs: settings.ENCLAVE_SCHEDULE_SECONDS * 1000,
  };
  return (installation) => new KnativeLauncher({ ...options, installation });
}

/** @throws ConfigError */
async function readTemplate({ ENCLAVE_TEMPLATE_FILE }: { ENCLAVE_TEMPLATE_FILE: string }): Promise<KnativeService> {
  const text = await readSettingText('ENCLAVE_TEMPLATE_FILE', ENCLAVE_TEMPLATE_FILE);
  try {
    const template = load(text) as KnativeService | undefined;
    if (template?.kind === 'Service') return template;
  } catch (cause) {
    throw settingFileError(
      { ENCLAVE_TEMPLATE_FILE },
      `expected YAML: ${(cause as Error).message.split('\n')[0]}`,
      cause,
    );
  }
  throw settingFileError({ ENCLAVE_TEMPLATE_FILE }, 'expected a Knative Service, got something else');
}

/** Enclaves as Knative Services, each applied server-side, at zero pods when nobody uses it. */
export class KnativeLauncher implements Launcher {
  readonly image: string;
  private readonly clock: Clock;
  private readonly starts = new SharedStarts<Enclave>();

  constructor(private readonly options: KnativeLauncherOptions) {
    this.image = options.kind.image.slice(options.kind.image.lastIndexOf('@') + 1);
    this.clock = options.clock ?? systemClock;
  }

  get persistent(): boolean {
    return this.options.kind.volume !== undefined;
  }

  async ensure(id: EnclaveId, { onStage, signal, plan }: LaunchOptions): Promise<Enclave> {
    const start = deadline(this.options.startMs, this.clock);
    const limit = AbortSignal.any([signal, start.signal]);
    const name = this.nameOf(id);
    let created: KnativeService | undefined;
    try {
      const [found, pods] = await Promise.all([
        this.options.api.find<KnativeService>(this.path(name), { signal: limit }),
        this.pods(name, limit),
      ]);
      const service = await this.bring(name, id, plan, found, limit);
      if (found?.metadata.uid !== service.metadata.uid) created = service;
      const warm = isReady(service) ? servingPod(service, pods) : undefined;
      if (warm) return this.enclave(service, warm, false);
      const { uid, generation } = service.metadata;
      return await this.starts.join(`${uid}/${generation}`, { signal: limit, onStage }, (shared) =>
        this.start(name, service, shared),
      );
    } catch (error) {
      if (created && !signal.aborted) await this.end(created);
      throw this.refusal(error, signal, limit);
    } finally {
      start.clear();
    }
  }

  async discard(id: EnclaveId, enclave: Enclave): Promise<void> {
    const name = this.nameOf(id);
    const service = await this.options.api.find<KnativeService>(this.path(name));
    if (service === undefined) return;
    const pods = await this.pods(name);
    const pod = servingPod(service, pods);
    if (pod === undefined || pod.metadata.uid === enclave.workloadUid) await this.end(service);
  }

  async find(user: string, names: string[]): Promise<Map<string, Running>> {
    const byObject = new Map(names.map((name) => [this.nameOf({ user, name }), name]));
    const running = new Map<string, Running>();
    if (byObject.size === 0) return running;
    const query = { labelSelector: `serving.knative.dev/service in (${[...byObject.keys()].join(',')})` };
    const { items } = await this.options.api.get<List<Pod>>(this.podCollection(), { query });
    for (const pod of items) {
      const { metadata, spec } = pod;
      const name = byObject.get(metadata.labels?.['serving.knative.dev/service'] ?? '');
      if (name === undefined || metadata.deletionTimestamp !== undefined) continue;
      const serves = isPodReady(pod);
      if (serves || !running.has(name)) running.set(name, { serves, node: spec?.nodeName ?? '' });
    }
    return running;
  }

  /** Without its Service there is no pod, and nothing brings one back before the next login. */
  async stop(id: EnclaveId): Promise<void> {
    await this.options.api.delete(this.path(this.nameOf(id)), {});
  }

  async remove(id: EnclaveId): Promise<void> {
    await this.stop(id);
    // Also where volumes are off now: they may have been on.
    await this.options.api.delete(this.volumePath(this.nameOf(id)), {});
  }

  async removeAll(user: string): Promise<void> {
    const { api, kind } = this.options;
    await deleteObjectsOf(api, user, [
      enclaveCollections.services(kind.namespace),
      enclaveCollections.volumes(kind.namespace),
    ]);
  }

  /** The Service as it should be; applied only when it isn't. */
  private async bring(
    name: string,
    enclave: EnclaveId,
    plan: EnclavePlan | undefined,
    found: KnativeService | undefined,
    signal: AbortSignal,
  ): Promise<KnativeService> {
    const { api, kind } = this.options;
    const installation = await this.options.installation();
    const wanted = enclaveService(kind, { name, enclave, installation, now: dateOf(this.clock), plan });
    if (found && isCurrent(found, wanted, dateOf(this.clock))) return found;
    // What is being deleted can't be brought back: wait for its end, then apply.
    let leaving = found;
    while (leaving?.metadata.deletionTimestamp !== undefined) {
      await this.clock.sleep(200, signal);
      leaving = await api.find<KnativeService>(this.path(name), { signal });
    }
    if (kind.volume) await this.bringVolume({ name, enclave, installation }, signal);
    return api.apply<KnativeService>(this.path(name), wanted, FIELD_MANAGER, { signal });
  }

  /** A volume stays as it was made, whatever size new ones get. */
  private async bringVolume(volume: Parameters<typeof enclaveVolume>[1], signal: AbortSignal): Promise<void> {
    const { api, kind } = this.options;
    const path = this.volumePath(volume.name);
    for (;;) {
      const found = await api.find<PersistentVolumeClaim>(path, { signal });
      if (found === undefined) await api.apply(path, enclaveVolume(kind, volume), FIELD_MANAGER, { signal });
      if (found?.metadata.deletionTimestamp === undefined) return;
      // Of an enclave of the same name that was deleted: its files are not to be seen again.
      await this.clock.sleep(200, signal);
    }
  }

  /** Wakes the enclave and waits for a pod that serves, telling what is being waited for. */
  private async start(
    name: string,
    applied: KnativeService,
    { signal, onStage }: Pick<LaunchOptions, 'signal' | 'onStage'>,
  ): Promise<Enclave> {
    const { api, scheduleMs } = this.options;
    const stop = new AbortController();
    const both = AbortSignal.any([signal, stop.signal]);
    const seen: Seen = { pods: [] };
    let stage = 0;
    let waking = false;
    let awake = false;
    let waitingSince: number | undefined;

    return new Promise<Enclave>((resolve, reject) => {
      const wakeOnce = (service: KnativeService): void => {
        if (waking) return;
        waking = true;
        void wake(this.innerEndpoint(service), both).then((answered) => {
          awake = answered;
          look();
        });
      };
      const look = (): void => {
        for (const pod of seen.pods) {
          const now = pod.metadata.deletionTimestamp === undefined ? (stageOf(pod, dateOf(this.clock)) ?? 0) : 0;
          if (now > stage) onStage((stage = now));
        }
        const { service } = seen;
        if (service && isReady(service)) {
          // The kubelet asks for readiness when it starts a container and then every ten seconds: an enclave that answered is not waited for so long.
          const pod = servingPod(service, seen.pods) ?? (awake ? answeringPod(service, seen.pods) : undefined);
          if (pod) return resolve(this.enclave(service, pod, true));
          wakeOnce(service);
        }
        const failure = failureOf(service, seen.pods);
        waitingSince = failure ? (waitingSince ?? this.clock.now()) : undefined;
        if (failure && (!failure.waits || this.clock.now() - (waitingSince ?? 0) > scheduleMs))
          reject(new StartError(failure));
      };
      const follow = async (): Promise<void> => {
        for await (const [service] of observe<KnativeService>(
          api,
          this.collection(),
          { fieldSelector: `metadata.name=${name}` },
          both,
        )) {
          seen.service = service;
          look();
        }
      };
      const followPods = async (): Promise<void> => {
        for await (const pods of observe<Pod>(
          api,
          this.podCollection(),
          { labelSelector: `serving.knative.dev/service=${name}` },
          both,
        )) {
          seen.pods = pods;
          look();
        }
      };
      // One that is at zero is on its way up while its pods are looked for.
      if (isReady(applied)) wakeOnce(applied);
      const ticks = every(this.clock, 250, look);
      both.addEventListener('abort', () => ticks.cancel(), { once: true });
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
      follow().catch(reject);
      followPods().catch(reject);
    }).finally(() => stop.abort());
  }

  private enclave(service: KnativeService, pod: Pod, started: boolean): Enclave {
    return {
      workloadUid: pod.metadata.uid ?? '',
      node: pod.spec?.nodeName ?? '',
      endpoint: endpointOf(service.status?.url),
      innerEndpoint: this.innerEndpoint(service),
      tlsAddress: '',
      started,
    };
  }

  /** The route inside the cluster: its public name need not resolve there. */
  private innerEndpoint(service: KnativeService): string {
    return endpointOf(service.status?.address?.url ?? service.status?.url);
  }

  private async end(service: KnativeService): Promise<void> {
    const { uid } = service.metadata;
    await this.options.api.delete(this.path(service.metadata.name), { uid }).catch((error: unknown) => {
      (this.options.log ?? silent).warn({ err: error }, 'an enclave that failed could not be removed');
    });
  }

  private async pods(name: string, signal?: AbortSignal): Promise<Pod[]> {
    const query = { labelSelector: `serving.knative.dev/service=${name}` };
    return (await this.options.api.get<List<Pod>>(this.podCollection(), { query, signal })).items;
  }

  private collection(): string {
    return enclaveCollections.services(this.options.kind.namespace);
  }

  private podCollection(): string {
    return `/api/v1/namespaces/${this.options.kind.namespace}/pods`;
  }

  private nameOf(id: EnclaveId): string {
    return enclaveName(this.options.nameKey, id);
  }

  private volumePath(name: string): string {
    return `${enclaveCollections.volumes(this.options.kind.namespace)}/${name}`;
  }

  private path(name: string): string {
    return `${this.collection()}/${name}`;
  }

  private refusal(error: unknown, signal: AbortSignal, limit: AbortSignal): Error {
    if (error instanceof RpcError) return error;
    if (error instanceof StartError) {
      const { code, message } = error.failure;
      return new RpcError(`login.${code}`, code === 'quota' ? status.RESOURCE_EXHAUSTED : status.UNAVAILABLE, message, {
        cause: error,
      });
    }
    if (signal.aborted)
      return new RpcError('login.enclave_unavailable', status.CANCELLED, 'the login was given up', { cause: error });
    if (limit.aborted) {
      return new RpcError('login.enclave_timeout', status.UNAVAILABLE, 'the enclave did not start in time; try again', {
        cause: error,
      });
    }
    if (error instanceof KubernetesError && error.status === 403 && /quota/i.test(error.message)) {
      return new RpcError('login.quota', status.RESOURCE_EXHAUSTED, 'the cluster has no room for another enclave', {
        cause: error,
      });
    }
    (this.options.log ?? silent).error({ err: error }, 'the cluster does not answer');
    return new RpcError('login.enclave_unavailable', status.UNAVAILABLE, 'the cluster does not answer; try again', {
      cause: error,
    });
  }
}

class StartError extends CodedError<'internal.enclave_start'> {
  override readonly name = 'StartError';

  constructor(readonly failure: StartFailure) {
    super('internal.enclave_start', failure.message);
  }
}
