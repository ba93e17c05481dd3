import { sha256 } from '../attestation/crypto';
import { Metadata, status } from '@grpc/grpc-js';
import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js';
import { channelCredentials } from '../runtime/rpc/address';
import type { Address } from '../runtime/rpc/address';
import { RpcError } from '../runtime/rpc/errors';
import { formatTraceparent } from '../runtime/traces/context';
import { currentPlace } from '../runtime/traces/place';
import { withSpan } from '../runtime/traces/span';
import { AttestorServiceClient, AttestorServiceService } from '../proto/gen/licensing/v1/attestor';
import type { AttestRequest, AttestResponse } from '../proto/gen/licensing/v1/attestor';
import { Claims } from '../proto/gen/licensing/v1/evidence';
import type { Evidence } from '../proto/gen/licensing/v1/evidence';
import { KIND } from '../runtime/traces/record';
import { systemClock } from '../runtime/clock';
import type { Clock } from '../runtime/clock';
import { Backoff } from '../runtime/backoff';
import type { BackoffOptions } from '../runtime/backoff';
import type { AttestorCode } from '../errors/attestor';
import { silent } from '../runtime/log/log';
import type { Logger } from '../runtime/log/log';
import { readText } from '../runtime/text/utf8';
import { channelTo } from '../runtime/rpc/proxy';

interface AttestorLinkOptions {
  address: Address;
  /** Holds the workload's credential; read again at every connection. */
  credentialFile: string;
  /** The enclave's TLS certificate, DER: what every evidence is about. */
  certificate: Buffer;
  /** How long a request waits for the link and its answer. */
  timeoutMs?: number;
  /** Between connections that brought nothing. */
  retry?: Pick<BackoffOptions, 'firstMs' | 'mostMs'>;
  /** Silent, unless told. */
  log?: Logger;
  /** The system's, unless told. */
  clock?: Clock;
}

/** What a caller asks for; the link adds the rest. */
export type EvidenceRequest = Omit<AttestRequest, 'id' | 'certificate' | 'traceparent'>;

/** What comes of a request on one stream: 'unheard' where the attestor took the stream for nobody's, and so looked at nothing on it. */
type Outcome = Evidence | RpcError | 'unheard';

interface Pending {
  settle(result: Outcome): void;
}

interface Stream {
  call: ClientDuplexStream<AttestRequest, AttestResponse>;
  pending: Map<bigint, Pending>;
  /** True once the attestor has answered: it knows this workload. */
  proven: boolean;
}

const TIMEOUT_MS = 60_000;
const RETRY = { firstMs: 100, mostMs: 3_000 };
/** How long the socket may take to be there. */
const CONNECT_TIMEOUT_MS = 5_000;
/** How long a request waits for a link that is down before it fails. */
const LINK_PATIENCE_MS = 5_000;

/**
 * The one stream from this enclave to its node's attestor. It is opened again, with the credential read anew, whenever it ends. Requests in
 * flight then fail with a status that is worth another try: whether the attestor had answered can't be known.
 */
export class AttestorLink {
  private stream: Stream | undefined;
  private uid = '';
  private lastId = 0n;
  private stopped = false;
  private failure: RpcError = unavailable();
  private readonly waiting = new Set<(stream: Stream | RpcError) => void>();
  private wake: () => void = () => undefined;
  /** One that the attestor refused, as it does once it was used; another one is on its way. */
  private spent: string | undefined;

  private readonly clock: Clock;
  private readonly certificateSha256: string;
  private readonly log: Logger;

  constructor(private readonly options: AttestorLinkOptions) {
    this.certificateSha256 = sha256(options.certificate).toString('hex');
    this.clock = options.clock ?? systemClock;
    this.log = options.log ?? silent;
  }

  /** The workload that the attestor takes this enclave for; empty before the first evidence. */
  get workloadUid(): string {
    return this.uid;
  }

  start(): void {
    void this.keepOpen();
  }

  stop(): void {
    this.stopped = true;
    this.stream?.call.cancel();
    this.wake();
    for (const settle of this.waiting) settle(unavailable());
  }

  /**
   * Asks for evidence about this enclave.
   * @throws RpcError `enclave.attestor_unavailable` (UNAVAILABLE: try again), `enclave.identity_refused` (FAILED_PRECONDITION: the attestor
   *   does not take this enclave for anyone's), or what the attestor says
   */
  requestEvidence(request: EvidenceRequest, signal: AbortSignal): Promise<Evidence> {
    return withSpan({ name: AttestorServiceService.attest.path, kind: KIND.client }, () => this.ask(request, signal));
  }

  private async ask(request: EvidenceRequest, signal: AbortSignal): Promise<Evidence> {
    const first = await this.askOn(this.stream ?? (await this.untilOpen(signal)), request, signal);
    if (first !== 'unheard') return first;
    const second = await this.askOn(await this.untilOpen(signal), request, signal);
    if (second !== 'unheard') return second;
    throw this.failure;
  }

  private askOn(stream: Stream, request: EvidenceRequest, signal: AbortSignal): Promise<Evidence | 'unheard'> {
    const here = currentPlace()?.context;
    const traceparent = here ? formatTraceparent(here) : '';
    return new Promise((resolve, reject) => {
      const id = ++this.lastId;
      const end = (): void => {
        stream.pending.delete(id);
        timer.cancel();
        signal.removeEventListener('abort', cancelled);
      };
      const settle = (result: Outcome): void => {
        end();
        if (result instanceof RpcError) reject(result);
        else resolve(result);
      };
      const cancelled = (): void => settle(new RpcError('rpc.cancelled', status.CANCELLED, 'the caller is gone'));
      const timer = this.clock.after(this.options.timeoutMs ?? TIMEOUT_MS, () =>
        settle(unavailable('the attestor gave no answer in time')),
      );
      signal.addEventListener('abort', cancelled, { once: true });
      stream.pending.set(id, { settle });
      stream.call.write({ id, certificate: this.options.certificate, traceparent, ...request });
    });
  }

  private untilOpen(signal: AbortSignal): Promise<Stream> {
    this.wake();
    return new Promise((resolve, reject) => {
      const settle = (result: Stream | RpcError): void => {
        this.waiting.delete(settle);
        timer.cancel();
        signal.removeEventListener('abort', give);
        if (result instanceof RpcError) reject(result);
        else resolve(result);
      };
      const give = (): void => settle(this.failure);
      const timer = this.clock.after(Math.min(LINK_PATIENCE_MS, this.options.timeoutMs ?? TIMEOUT_MS), give);
      signal.addEventListener('abort', give, { once: true });
      this.waiting.add(settle);
    });
  }

  private async keepOpen(): Promise<void> {
    const backoff = new Backoff(this.options.retry ?? RETRY);
    while (!this.stopped) {
      const proven = await this.hold();
      if (this.stopped) return;
      if (proven) backoff.reset();
      await new Promise<void>((resolve) => {
        const timer = this.clock.after(backoff.next(), resolve);
        this.wake = () => {
          timer.cancel();
          resolve();
        };
      });
      this.wake = () => undefined;
    }
  }

  /** Opens the stream and keeps it until it ends. True when the attestor had answered on it. */
  private async hold(): Promise<boolean> {
    const { address, credentialFile } = this.options;
    const to = channelTo(address);
    const client = new AttestorServiceClient(to.target, channelCredentials(address), {
      ...to.options,
      'grpc.use_local_subchannel_pool': 1,
      'grpc.keepalive_time_ms': 20_000,
      'grpc.keepalive_timeout_ms': 10_000,
    });
    try {
      const credential = (await readText(credentialFile)).trim();
      if (credential === this.spent) throw new Error('the credential was refused, and there is no other one yet');
      const metadata = bearer(credential);
      // The attestor holds this enclave to it from here on, before anything that a user runs here could show it another.
      metadata.set('certificate-sha256', this.certificateSha256);
      await new Promise<void>((resolve, reject) => {
        client.waitForReady(systemClock.now() + CONNECT_TIMEOUT_MS, (error) => (error ? reject(error) : resolve()));
      });
      if (this.stopped) return false;
      return await this.run(client.attest(metadata), credential);
    } catch (error) {
      this.log.warn(
        { code: 'enclave.attestor_unavailable', reason: (error as Error).message },
        'no link to the attestor',
      );
      this.failure = unavailable();
      return false;
    } finally {
      client.close();
    }
  }

  private run(call: Stream['call'], credential: string): Promise<boolean> {
    const stream: Stream = { call, pending: new Map(), proven: false };
    call.on('data', ({ id, result }: AttestResponse) => {
      stream.proven = true;
      const pending = stream.pending.get(id);
      if (result?.$case === 'evidence') {
        this.uid = Claims.decode(result.value.claims).workloadUid;
        pending?.settle(result.value);
      }
      if (result?.$case === 'failure') pending?.settle(fromFailure(result.value));
    });
    this.stream = stream;
    for (const settle of this.waiting) settle(stream);
    return new Promise((resolve) => {
      const ended = (error?: ServiceError): void => {
        if (this.stream === stream) this.stream = undefined;
        this.failure = refused(error) ?? unavailable();
        const unheard = error?.code === status.UNAUTHENTICATED && !stream.proven;
        if (unheard) this.spent = credential;
        if (!this.stopped)
          this.log.warn({ code: this.failure.code, reason: error?.details }, 'the link to the attestor ended');
        for (const { settle } of [...stream.pending.values()]) settle(unheard ? 'unheard' : this.failure);
        resolve(stream.proven);
      };
      call.once('error', ended);
      call.once('end', () => ended());
    });
  }
}

/** grpc-js would put what it can't send into the text of its error, and so into the log. */
function bearer(credential: string): Metadata {
  if (!/^[\x21-\x7e]+$/.test(credential))
    throw new Error('expected a credential of printable characters in its file, got something else');
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${credential}`);
  return metadata;
}

function unavailable(message = 'the attestor of this node is not there'): RpcError {
  return new RpcError('enclave.attestor_unavailable', status.UNAVAILABLE, message);
}

/**
 * The attestor gives this workload nothing. That it doesn't take the credential is another matter: each opens one stream, or lives minutes, and whoever
 * starts enclaves brings the next one within seconds.
 */
function refused(error: ServiceError | undefined): RpcError | undefined {
  if (error?.code === status.UNAUTHENTICATED)
    return unavailable("the attestor of this node doesn't take this enclave's credential, and waits for the next one");
  if (error?.code !== status.PERMISSION_DENIED) return undefined;
  return new RpcError(
    'enclave.identity_refused',
    status.FAILED_PRECONDITION,
    "the attestor refused this enclave's identity",
  );
}

function fromFailure({ code, message, retryable }: { code: string; message: string; retryable: boolean }): RpcError {
  // Its own codes, or those of a later release of it.
  return new RpcError(code as AttestorCode, retryable ? status.UNAVAILABLE : status.FAILED_PRECONDITION, message);
}
