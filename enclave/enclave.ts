import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { sha256Hex } from '../attestation/crypto';
import { splitCertificates } from '../attestation/certificates/pem';
import type { CurrentFiles } from '../runtime/config/reloading-file';
import { currentSetting } from '../runtime/config/reloading-setting';
import { BulkEnclaveService } from '../runtime/rpc/bulk';
import { subscriberAt } from '../runtime/rpc/peer';
import { listenOnDescriptor } from '../runtime/rpc/listen-on';
import { startServer } from '../runtime/rpc/server';
import { AttestorLink } from './attestor-link';
import { serveConnection } from './connection';
import { makeIdentity } from './identity';
import { IdleTimer } from './idle';
import { enclaveService } from './service';
import { ClosedSeats } from './session/closed-seats';
import { CommandNamespaces } from './session/command-namespaces';
import { Commands } from './session/commands';
import { TlsEndpoint } from './tls';
import type { EnclaveSettings } from './settings';
import { systemClock, unixSecondsOf } from '../runtime/clock';
import type { Clock } from '../runtime/clock';
import { silent } from '../runtime/log/log';
import type { Logger } from '../runtime/log/log';
import type { Tracer } from '../runtime/traces/tracer';

/** At its end, for the answers to calls that are open. */
const ANSWER_MS = 500;

export interface RunningEnclave {
  /** Ports that were bound: EnclaveService, and the enclave's own TLS where it has one. */
  ports: { listen: number; tls?: number };
  stop(): Promise<void>;
}

interface EnclaveOptions {
  /** Called when it has had no connection for IDLE_SECONDS. */
  onIdle?(): void;
  /** The system's, unless told. */
  clock?: Clock;
  /** Silent and nowhere, unless told. */
  log?: Logger;
  tracer?: Tracer;
}

/** The roots of client certificates, which may be replaced while the enclave runs. @throws ConfigError */
export function loadClientRoots(
  { CLIENT_CA_FILE }: Pick<EnclaveSettings, 'CLIENT_CA_FILE'>,
  { clock = systemClock, log = silent }: Pick<EnclaveOptions, 'clock' | 'log'> = {},
): Promise<CurrentFiles<string>> {
  return currentSetting({ CLIENT_CA_FILE }, ([pem]) => requireCertificates(String(pem)), { clock, log });
}

/**
 * Starts an enclave: makes its identity, joins its attestor, serves. The caller stops it.
 * @param roots closed when it stops
 */
export async function startEnclave(
  settings: Omit<EnclaveSettings, 'READY_FILE' | 'CLIENT_CA_FILE'>,
  roots: CurrentFiles<string>,
  { onIdle = () => undefined, clock = systemClock, log = silent, tracer }: EnclaveOptions = {},
): Promise<RunningEnclave> {
  await mkdir(settings.WORKSPACE_DIR, { recursive: true, mode: 0o700 });
  const identity = await makeIdentity(settings.TRUST_DOMAIN);
  const clients = {
    get clientRoots() {
      return roots.current;
    },
    trustDomain: settings.TRUST_DOMAIN,
    user: settings.ENCLAVE_USER,
    clock,
  };
  const link = new AttestorLink({
    address: settings.ATTESTOR_ADDRESS,
    credentialFile: settings.ATTESTOR_CREDENTIAL_FILE,
    certificate: identity.certificate,
    clock,
    log,
  });
  const seats = {
    required: settings.SEATS === 'required',
    graceSeconds: settings.SEAT_GRACE_SECONDS,
    get roots() {
      return roots.current;
    },
    trustDomain: settings.TRUST_DOMAIN,
    user: settings.ENCLAVE_USER,
    privateKey: identity.privateKey,
    clock,
  };
  const closedSeats = new ClosedSeats({
    trustDomain: settings.TRUST_DOMAIN,
    privateKey: identity.privateKey,
    graceSeconds: settings.SEAT_GRACE_SECONDS,
    clock,
  });
  const commands = new Commands(clock);
  const { HIDDEN_DIR: hidden } = settings;
  const namespaces = hidden === undefined ? undefined : new CommandNamespaces(hidden, log);
  // Made while nobody waits for them.
  void namespaces?.open().catch((err: unknown) => log.error({ err }, 'no namespaces for commands yet'));
  const idle = new IdleTimer(settings.IDLE_SECONDS * 1000, onIdle, clock);
  const startedAt = BigInt(unixSecondsOf(clock));
  const served = new Set<() => Promise<void>>();
  const endpoint: TlsEndpoint = new TlsEndpoint({
    identity,
    clients,
    log,
    onConnection: (connection) => {
      idle.enter();
      connection.socket.once('close', () => {
        idle.leave();
        served.delete(finish);
      });
      const finish = serveConnection(connection, {
        log,
        tracer,
        link,
        commands,
        workspace: settings.WORKSPACE_DIR,
        own: { credentialFile: settings.ATTESTOR_CREDENTIAL_FILE, hidden },
        namespaces,
        seats,
        closedSeats,
        status: () =>
          Promise.resolve({
            user: settings.ENCLAVE_USER,
            workloadUid: link.workloadUid,
            startedAt,
            sessions: endpoint.connectionCount,
            commands: commands.count,
          }),
      });
      served.add(finish);
    },
  });
  link.start();
  const service = enclaveService({
    link,
    endpoint,
    clients,
    certificate: identity.certificate,
    proxies: settings.TRUSTED_PROXIES,
    onActivity: () => idle.touch(),
  });
  const server = await startServer({
    address: settings.LISTEN,
    services: [{ definition: BulkEnclaveService, implementation: service }],
    // The tunnel's.
    wideWindows: true,
    log,
    tracer,
    proxies: settings.TRUSTED_PROXIES,
  });
  const tcp = settings.TLS_LISTEN && (await listenTls(endpoint, settings.TLS_LISTEN, log));
  const sinceStartMs = Math.round(process.uptime() * 1000);
  log.info({ certificateSha256: sha256Hex(identity.certificate), sinceStartMs }, 'serving');

  return {
    ports: { listen: server.port, ...(tcp && { tls: (tcp.address() as AddressInfo).port }) },
    async stop() {
      idle.stop();
      roots.close();
      tcp?.close();
      await commands.stop();
      namespaces?.close();
      // Whoever waits for a command is told why it ended.
      await Promise.race([Promise.all([...served].map((finish) => finish())), clock.sleep(ANSWER_MS)]);
      endpoint.close();
      link.stop();
      await server.stop(500);
    },
  };
}

/** Without a root of ours, TLS would take the public ones. @throws TypeError */
function requireCertificates(pem: string): string {
  if (splitCertificates(pem).length === 0)
    throw new TypeError('expected roots of client certificates in PEM, got none');
  return pem;
}

async function listenTls(
  endpoint: TlsEndpoint,
  address: { host: string; port: number } | { fd: number },
  log: Logger,
): Promise<Server> {
  const server = createServer((socket) => endpoint.accept(socket, subscriberAt(socket)));
  if ('fd' in address) await listenOnDescriptor(address.fd, server);
  else
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(address.port, address.host, resolve);
    });
  server.on('error', (err) => log.error({ err }, 'TLS listener failed'));
  return server;
}
