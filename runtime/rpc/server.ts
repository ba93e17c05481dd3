import { chmod, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import type { ServiceDefinition } from '@grpc/grpc-js';
import { systemClock } from '../clock';
import { silent } from '../log/log';
import type { CallObserver } from '../metrics/calls';
import type { ListenAddress } from './address';
import { Calls } from './calls';
import type { CallsOptions } from './calls';
import { bind } from './handlers';
import type { Implementation } from './handlers';
import { Health } from './health';
import { http2ServersOf, widenWindows } from './http2';
import { limitPeers, MISUSES } from './limits';
import { listenOn } from './listen-on';
import type { PeerLimits } from './limits';
import { Misuse } from './misuse';
import { observeCalls } from './observe';
import { ruleOf } from './rules';
import type { Caller } from './rules';
import { largestRequest, limitRequests, refuseUnread } from './sizes';

/** Answers are small; what is large is streamed in pieces below this. Requests have limits of their own: rules.ts. */
const MAX_MESSAGE_BYTES = 1024 * 1024;
/** Of requests that aren't there as a whole, from all callers together. */
const UNFINISHED_BYTES = 64 * 1024 * 1024;
/** Of requests that wait for their turn. */
const WAITING_BYTES = 32 * 1024 * 1024;

/** PEM. */
export interface TlsPair {
  key: Buffer;
  certificate: Buffer;
}

/** A pair that may be replaced while the server runs: connections to come get the new one. */
export interface ServerTls extends TlsPair {
  onChange(listener: (pair: TlsPair) => void): void;
  close(): void;
}

export interface ServerOptions extends CallsOptions {
  address: ListenAddress;
  services: ReadonlyArray<{ definition: ServiceDefinition; implementation: Implementation }>;
  /** For https. Closed with the server. */
  tls?: TlsPair | ServerTls;
  /** Permission bits of a unix socket; 0o600 unless told. */
  socketMode?: number;
  /** Its streams carry files: see http2.ts. */
  wideWindows?: boolean;
  limits?: PeerLimits;
  /** Is told of every call. */
  observer?: CallObserver;
}

export interface RunningServer {
  /** The port that was bound; 0 for a unix socket. */
  port: number;
  health: Health;
  /** Lets calls in flight end for `graceMs`, then cuts them. */
  stop(graceMs?: number): Promise<void>;
}

async function removeStaleSocket(path: string): Promise<void> {
  const live = await new Promise<boolean>((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(true);
    });
    probe.on('error', () => resolve(false));
  });
  if (live) throw new Error(`another process serves ${path}`);
  await unlink(path).catch(() => undefined);
}

/** Options that every server here shares: bounded messages, bounded streams, dead peers noticed. */
export const SERVER_CHANNEL_OPTIONS = {
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  // Of a connection. A caller has few, and a proxy's have more room (limits.ts): what comes at once is looked at at once, and everybody else waits for it.
  'grpc.max_concurrent_streams': 128,
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
};

/** Who may call these is decided by who may open the socket, or by its peer's credential, which a network would carry to anyone. */
const LOCAL_CALLERS: readonly Caller[] = ['workload', 'socket owner'];

function requireLocalAddress(services: readonly ServiceDefinition[], { scheme }: ListenAddress): void {
  const [method] = services
    .flatMap((definition) => Object.values(definition))
    .filter(({ path }) => LOCAL_CALLERS.includes(ruleOf(path).caller));
  if (method && scheme !== 'unix') throw new Error(`${method.path} is for callers on a unix socket`);
}

function requireAuthentication(services: readonly ServiceDefinition[], { authenticate }: CallsOptions): void {
  const method = services
    .flatMap((definition) => Object.values(definition))
    .find(({ path }) => ruleOf(path).caller === 'access token');
  if (method && !authenticate) throw new Error(`${method.path} is for access tokens, and nothing checks them`);
}

/** Starts a gRPC server with health checks. The caller stops it. @throws Error for a method that has no rule (rules.ts) */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { address } = options;
  const names = options.services.map(({ definition }) => Object.values(definition)[0]?.path.split('/')[1] ?? '');
  const health = new Health(names);
  const healthDefinition = health.definition as ServiceDefinition;
  const definitions = [healthDefinition, ...options.services.map(({ definition }) => definition)];
  requireLocalAddress(definitions, address);
  requireAuthentication(definitions, options);
  const largest = largestRequest(definitions);
  const misuse = new Misuse(options.limits?.misuses ?? MISUSES, options.clock ?? systemClock);
  const calls = new Calls({ ...options, misuse, turns: { waiting: WAITING_BYTES / largest, ...options.turns } });
  const services = [
    { definition: healthDefinition, methods: health.implementation },
    ...options.services.map(({ definition, implementation }) => ({
      definition,
      methods: bind(implementation, calls),
    })),
  ];
  const server = new Server({
    ...SERVER_CHANNEL_OPTIONS,
    'grpc.max_receive_message_length': largest,
    interceptors: [refuseUnread(largest)],
  });
  for (const { definition, methods } of services) server.addService(limitRequests(definition, largest), methods);

  if (address.scheme === 'unix') await removeStaleSocket(address.path);
  if ((address.scheme === 'https') !== (options.tls !== undefined)) {
    throw new Error('an https address needs a key and a certificate, and only such an address takes them');
  }
  const credentials = options.tls
    ? ServerCredentials.createSsl(null, [{ private_key: options.tls.key, cert_chain: options.tls.certificate }])
    : ServerCredentials.createInsecure();
  const bound = await listenOn(server, address, credentials);
  const { tls } = options;
  if (tls && 'onChange' in tls)
    tls.onChange(({ key, certificate }) => {
      for (const http2 of http2ServersOf(server))
        if ('setSecureContext' in http2) http2.setSecureContext({ key, cert: certificate });
      (options.log ?? silent).info({}, 'TLS goes on with another certificate');
    });
  limitPeers(
    server,
    definitions,
    { requests: UNFINISHED_BYTES / largest, proxies: options.proxies, ...options.limits },
    options.clock,
    misuse,
  );
  if (options.observer) observeCalls(server, definitions, options.observer);
  if (options.wideWindows) widenWindows(server);
  if (address.scheme === 'unix') await chmod(address.path, options.socketMode ?? 0o600);
  (options.log ?? silent).debug({ address, port: bound.port, services: names }, 'listening');

  return {
    port: bound.port,
    health,
    async stop(graceMs = 5_000) {
      health.set(false);
      if (tls && 'close' in tls) tls.close();
      bound.close();
      await new Promise<void>((resolve) => {
        const force = setTimeout(() => server.forceShutdown(), graceMs);
        server.tryShutdown(() => {
          clearTimeout(force);
          resolve();
        });
      });
      if (address.scheme === 'unix') await unlink(address.path).catch(() => undefined);
    },
  };
}
