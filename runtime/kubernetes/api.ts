import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import type { AgentOptions, IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import { Agent, request } from 'node:https';
import type { RequestOptions } from 'node:https';
import { createInterface } from 'node:readline';
import type { KubeConfig } from '@kubernetes/client-node';
import { ConfigError } from '../config/environment';
import { deadline } from '../rpc/deadline';
import { KubernetesError } from './errors';
import { missingKubeconfig } from './kubeconfig';
import { systemClock } from '../clock';
import type { Clock } from '../clock';
import { Backoff } from '../backoff';
import { decodeUtf8 } from '../text/utf8';

/** One call, answer included; a watch has no such limit. */
const CALL_TIMEOUT_MS = 15_000;
/** Somebody waits for it. */
const INTERACTIVE_ATTEMPTS = 3;
const RETRY = { firstMs: 50, mostMs: 2_000 };

export interface CallOptions {
  signal?: AbortSignal;
  query?: Record<string, string>;
}

export interface WatchEvent<T> {
  type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  object: T;
}

const describe = (config: KubeConfig): string => config.getCurrentContext() || 'no context';

/**
 * The verbs of the Kubernetes API that are needed here, generic over the objects. Server, CA and credentials are the client library's (KubeConfig,
 * which also reads tokens again as they rotate); the connections are kept open between calls, where its own calls take a TLS handshake each.
 *
 * Throttling (429), unavailability (5xx, lost connections) and conflicts of writes (409) are retried with exponential back-off
 * and jitter until the caller's signal aborts or `attempts` are used up.
 */
export class KubernetesApi {
  private agent: Agent | HttpAgent | undefined;
  /** Of watches: each has its connection for as long as it lasts, and none of them is to keep a call from one. */
  private watching: Agent | HttpAgent | undefined;
  private readonly server: URL;

  constructor(
    private readonly config: KubeConfig,
    private readonly attempts = 8,
    private readonly clock: Clock = systemClock,
  ) {
    this.server = new URL(config.getCurrentCluster()?.server ?? '');
  }

  /** With the service account of the pod that this runs in. @throws ConfigError outside of a pod. */
  static async inCluster(env: NodeJS.ProcessEnv = process.env): Promise<KubernetesApi> {
    if (!env['KUBERNETES_SERVICE_HOST'] || !env['KUBERNETES_SERVICE_PORT']) {
      throw new ConfigError('expected KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT, as in every pod');
    }
    // Loaded when it is wanted: a function that starts from zero would hand on to its users the time that it takes.
    const { KubeConfig } = await import('./kube-config');
    const config = new KubeConfig();
    config.loadFromCluster();
    return new KubernetesApi(config);
  }

  /** Of the user's kubeconfig, as kubectl takes it: KUBECONFIG, ~/.kube/config. @throws ConfigError where it can't be read */
  static async ofUser(): Promise<KubernetesApi> {
    const missing = missingKubeconfig();
    if (missing !== undefined) throw new ConfigError(missing);
    const { KubeConfig } = await import('./kube-config');
    const config = new KubeConfig();
    try {
      config.loadFromDefault();
    } catch (cause) {
      const named = process.env['KUBECONFIG'] ?? 'the kubeconfig';
      throw new ConfigError(`KUBECONFIG (${named}) can't be read: ${(cause as Error).message}`, { cause });
    }
    if (!config.getCurrentCluster())
      throw new ConfigError(`expected the kubeconfig's current context to name a cluster, got ${describe(config)}`);
    return new KubernetesApi(config, INTERACTIVE_ATTEMPTS);
  }

  /** @throws KubernetesError */
  get<T>(path: string, options?: CallOptions): Promise<T> {
    return this.call<T>('GET', path, options);
  }

  /** As `get`, with the API server's own time. @throws KubernetesError */
  async getDated<T>(path: string, options: CallOptions = {}): Promise<{ date: Date; body: T }> {
    const response = await this.send('GET', path, options, undefined, true);
    if ((response.statusCode ?? 0) >= 300) throw await failure(response);
    return { date: new Date(response.headers.date ?? ''), body: JSON.parse(await textOf(response)) as T };
  }

  /** Undefined where there is no such object. @throws KubernetesError */
  async find<T>(path: string, options?: CallOptions): Promise<T | undefined> {
    try {
      return await this.call<T>('GET', path, options);
    } catch (error) {
      if (error instanceof KubernetesError && error.status === 404) return undefined;
      throw error;
    }
  }

  /** POST, for what is answered and not stored, such as a TokenReview: it may be repeated. @throws KubernetesError */
  review<T>(path: string, body: object, options?: CallOptions): Promise<T> {
    return this.call<T>('POST', path, options, { type: 'application/json', body });
  }

  /** POST to a collection: makes the object; 409 where there is one of its name. @throws KubernetesError */
  create<T>(collection: string, body: object, options?: CallOptions): Promise<T> {
    return this.call<T>('POST', collection, options, { type: 'application/json', body });
  }

  /** Server-side apply: creates the object or brings it to this state. Safe to repeat. @throws KubernetesError */
  apply<T>(path: string, body: object, fieldManager: string, options: CallOptions = {}): Promise<T> {
    const query = { ...options.query, fieldManager, force: 'true' };
    return this.call<T>('PATCH', path, { ...options, query }, { type: 'application/apply-patch+yaml', body });
  }

  /** Deletes the object if it is still the one of the preconditions; that it is gone already is no error. @throws KubernetesError */
  async delete(
    path: string,
    preconditions: { uid?: string; resourceVersion?: string },
    options?: CallOptions,
  ): Promise<void> {
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', propagationPolicy: 'Background', preconditions };
    try {
      await this.call('DELETE', path, options, { type: 'application/json', body });
    } catch (error) {
      if (!(error instanceof KubernetesError) || error.status !== 404) throw error;
    }
  }

  /** Changes from `resourceVersion` on, until the server or the signal ends them. @throws KubernetesError */
  async *watch<T>(path: string, query: Record<string, string>, signal: AbortSignal): AsyncGenerator<WatchEvent<T>> {
    const response = await this.send(
      'GET',
      path,
      { query: { ...query, watch: 'true', allowWatchBookmarks: 'true' }, signal },
      undefined,
      false,
    );
    if (response.statusCode !== 200) throw await failure(response);
    const lines = createInterface({ input: response, crlfDelay: Infinity });
    try {
      for await (const line of lines) {
        if (line === '') continue;
        const event = JSON.parse(line) as WatchEvent<T>;
        if (event.type === 'ERROR') return;
        yield event;
      }
    } finally {
      response.destroy();
    }
  }

  private async call<T>(
    method: string,
    path: string,
    options: CallOptions = {},
    content?: { type: string; body: object },
  ): Promise<T> {
    const backoff = new Backoff({ ...RETRY, clock: this.clock });
    for (let attempt = 1; ; attempt += 1) {
      let error: unknown;
      let wait = 0;
      try {
        const response = await this.send(method, path, options, content, true);
        if ((response.statusCode ?? 0) < 300) return JSON.parse(await textOf(response)) as T;
        wait = Number(response.headers['retry-after'] ?? 0) * 1000;
        error = await failure(response);
      } catch (cause) {
        error = cause;
      }
      options.signal?.throwIfAborted();
      if (attempt >= this.attempts || !worthAnotherTry(error, method)) throw error;
      await this.clock.sleep(Math.max(wait, backoff.next()), options.signal);
    }
  }

  private async send(
    method: string,
    path: string,
    { signal, query = {} }: CallOptions,
    content: { type: string; body: object } | undefined,
    limited: boolean,
  ): Promise<IncomingMessage> {
    const url = new URL(path, this.server);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const authenticated: RequestOptions = { headers: {} };
    await this.config.applyToHTTPSOptions(authenticated);
    const headers: OutgoingHttpHeaders = {
      ...(authenticated.headers as OutgoingHttpHeaders),
      accept: 'application/json',
    };
    const body = content && JSON.stringify(content.body);
    if (content && body !== undefined) {
      headers['content-type'] = content.type;
      headers['content-length'] = String(Buffer.byteLength(body));
    }
    const start = url.protocol === 'https:' ? request : httpRequest;
    const timeout = limited ? deadline(CALL_TIMEOUT_MS, this.clock) : undefined;
    const signals = [signal, timeout?.signal].filter((each) => each !== undefined);
    return new Promise((resolve, reject) => {
      const call = start(
        url,
        {
          method,
          headers,
          agent: limited ? this.keptOpen(authenticated) : this.unbounded(authenticated),
          signal: AbortSignal.any(signals),
        },
        resolve,
      );
      call.on('error', reject);
      call.on('close', () => timeout?.clear());
      call.end(body);
    });
  }

  private keptOpen(authenticated: RequestOptions): Agent | HttpAgent {
    return (this.agent ??= this.newAgent(authenticated, { keepAlive: true, maxSockets: 64, timeout: 60_000 }));
  }

  private unbounded(authenticated: RequestOptions): Agent | HttpAgent {
    return (this.watching ??= this.newAgent(authenticated, {}));
  }

  private newAgent({ ca, cert, key, rejectUnauthorized }: RequestOptions, options: AgentOptions): Agent | HttpAgent {
    return this.server.protocol === 'https:'
      ? new Agent({ ...options, ca, cert, key, rejectUnauthorized })
      : new HttpAgent(options);
  }
}

async function textOf(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of response) parts.push(part as Buffer);
  return decodeUtf8(Buffer.concat(parts), "the API server's answer");
}

/** Kubernetes answers errors with a Status object (meta/v1). */
async function failure(response: IncomingMessage): Promise<KubernetesError> {
  const text = await textOf(response);
  let status: { reason?: string; message?: string } = {};
  try {
    status = JSON.parse(text) as typeof status;
  } catch {
    status = { message: text.slice(0, 200) };
  }
  return new KubernetesError(response.statusCode ?? 0, status.reason ?? 'Unknown', status.message ?? 'no message');
}

function worthAnotherTry(error: unknown, method: string): boolean {
  if (!(error instanceof KubernetesError)) return true;
  return error.status === 429 || error.status >= 500 || (error.status === 409 && method === 'PATCH');
}
