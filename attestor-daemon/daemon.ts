import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Metrics } from '../runtime/metrics/metrics';
import { channelCredentials } from '../runtime/rpc/address';
import type { Address } from '../runtime/rpc/address';
import { FEW_PEERS } from '../runtime/rpc/limits';
import { startServer } from '../runtime/rpc/server';
import type { RunningServer } from '../runtime/rpc/server';
import { AttestorServiceService } from '../proto/gen/licensing/v1/attestor';
import { EnrolServiceClient } from '../proto/gen/licensing/v1/enrol';
import { Attestor, quoteByCertifiedKey } from './attestor';
import { AttestationKeyManager } from './attestation-key-manager';
import { enrolAttestationKey } from './enrolment';
import type { WorkloadIdentifier } from './identity/identity';
import { countQuotes, watchAttestationKey } from './metrics';
import { attestorService } from './service';
import { ensureAttestationKey } from './tpm/attestation-key';
import type { HierarchyAuthorizations } from './tpm/explain';
import { quote } from './tpm/quote';
import type { QuoteOnce } from './tpm/raw-quote';
import { TpmTools } from './tpm/tools';
import { quotesBy } from './tpm/transport';
import type { TpmTransport } from './tpm/transport';
import { WorkloadCertificates } from './workload-certificates';
import { systemClock } from '../runtime/clock';
import type { Clock } from '../runtime/clock';
import type { BackoffOptions } from '../runtime/backoff';
import { silent } from '../runtime/log/log';
import type { Logger } from '../runtime/log/log';
import type { Tracer } from '../runtime/traces/tracer';
import { channelTo } from '../runtime/rpc/proxy';

export interface DaemonOptions {
  listen: Address;
  /** Permission bits. */
  socketMode?: number;
  /** See TpmTools.open. */
  tpm: string;
  tpmAuth?: HierarchyAuthorizations;
  /** See quotesBy. */
  tpmTransport?: TpmTransport | undefined;
  node: string;
  stateDir: string;
  enrol: { address: Address; /** PEM, instead of the system's authorities. */ roots?: Buffer };
  identifier: WorkloadIdentifier;
  /** Told why evidence can't be made yet, or any more. */
  onFailure?(error: unknown): void;
  akHandle: string;
  /** Firmware event log, where the node has one. */
  eventLogFile?: string;
  /** Benchmarks only. */
  quoteDelayMs?: number;
  metrics?: Metrics;
  /** Between attempts to be certified. */
  retry?: Pick<BackoffOptions, 'firstMs' | 'mostMs'>;
  /** Silent and nowhere, unless told. */
  log?: Logger;
  tracer?: Tracer;
  /** The system's, unless told. */
  clock?: Clock;
}

export interface RunningDaemon {
  server: RunningServer;
  /** Resolves when evidence can be made for the first time. */
  ready: Promise<void>;
  stop(): Promise<void>;
}

/** Starts the attestor. It listens at once and refuses streams until its key is certified: health says NOT_SERVING until then. */
export async function startDaemon(options: DaemonOptions): Promise<RunningDaemon> {
  const { address, roots } = options.enrol;
  const { log = silent } = options;
  const to = channelTo(address);
  const client = new EnrolServiceClient(to.target, channelCredentials(address, roots), to.options);

  let server: RunningServer | undefined;
  let tools!: TpmTools;
  let quoteOnce!: QuoteOnce;
  let markReady!: () => void;
  const ready = new Promise<void>((resolve) => (markReady = resolve));
  const keyManager = new AttestationKeyManager({
    stateDir: options.stateDir,
    node: options.node,
    retry: options.retry,
    clock: options.clock,
    log,
    ensureKey: () => ensureAttestationKey(tools, { handle: options.akHandle, stateDir: options.stateDir, log }),
    enrol: (ak, signal) => enrolAttestationKey(tools, client, { ak, node: options.node, signal }),
    tryQuote: (ak) => quote(quoteOnce, ak, randomBytes(32)),
    onFailure: options.onFailure,
    onReady(isReady) {
      server?.health.set(isReady);
      if (isReady) markReady();
    },
  });
  const attestor = new Attestor({
    quoteRoot: (root) => quoteByCertifiedKey(quoteOnce, keyManager, root, { delayMs: options.quoteDelayMs, log }),
    eventLog: await readEventLog(options.eventLogFile, log),
    onQuote: options.metrics && countQuotes(options.metrics, options.clock ?? systemClock),
    clock: options.clock,
  });
  if (options.metrics) watchAttestationKey(options.metrics, () => keyManager.expiry);
  const certificates = await WorkloadCertificates.open({
    log,
    stateDir: options.stateDir,
    isGone: (start, unseenMs) => options.identifier.isGone(start, unseenMs),
    clock: options.clock,
  });
  const implementation = attestorService({
    attestor,
    certificates,
    identifier: options.identifier,
    node: options.node,
    clock: options.clock,
    ready: () => keyManager.last !== undefined,
  });

  try {
    // The socket first: an attestor that runs already keeps it, and its files beside it.
    server = await startServer({
      limits: FEW_PEERS,
      address: options.listen,
      socketMode: options.socketMode,
      observer: options.metrics,
      log,
      tracer: options.tracer,
      services: [{ definition: AttestorServiceService, implementation }],
    });
    server.health.set(false);
    tools = await TpmTools.open(options.tpm, join(options.stateDir, 'tpm'), options.tpmAuth);
    quoteOnce = quotesBy(options.tpmTransport, tools);
  } catch (error) {
    client.close();
    await server?.stop(0);
    await certificates.close();
    throw error;
  }
  keyManager.start();
  return {
    server,
    ready,
    async stop() {
      await server?.stop(500);
      await keyManager.stop();
      await certificates.close();
      client.close();
      await tools.close();
    },
  };
}

/** The verifier reads no more (attestation/tpm/event-log), and evidence has to fit in a message. Logs of real machines have 20 to 200 kB. */
const MAX_EVENT_LOG_BYTES = 512 * 1024;

/** It doesn't change while the node is up, so it is read once. */
async function readEventLog(path: string | undefined, logger: Logger): Promise<Buffer | undefined> {
  if (path === undefined) return undefined;
  const log = await readFile(path).catch(() => undefined);
  if (log === undefined || log.length <= MAX_EVENT_LOG_BYTES) return log;
  logger.warn(
    { bytes: log.length, most: MAX_EVENT_LOG_BYTES },
    'the firmware event log is too large to go with evidence',
  );
  return undefined;
}
