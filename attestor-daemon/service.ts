import { status } from '@grpc/grpc-js';
import type { Metadata, ServerDuplexStream } from '@grpc/grpc-js';
import { RpcError } from '../runtime/rpc/errors';
import { bidiStream, writeMessage } from '../runtime/rpc/handlers';
import { parseTraceparent } from '../runtime/traces/context';
import { withSpan } from '../runtime/traces/span';
import { AttestorServiceService } from '../proto/gen/licensing/v1/attestor';
import { AttestRequest } from '../proto/gen/licensing/v1/attestor';
import type { AttestorServiceServer, AttestResponse } from '../proto/gen/licensing/v1/attestor';
import { EvidenceError } from '../attestation/evidence/errors';
import { Purpose } from '../proto/gen/licensing/v1/evidence';
import type { Attestor } from './attestor';
import type { Workload, WorkloadIdentifier } from './identity/identity';
import { AttestRefusal, certificateChanged, RequestChecks } from './requests';
import type { WorkloadCertificates } from './workload-certificates';
import { KIND } from '../runtime/traces/record';
import { at, every, systemClock } from '../runtime/clock';
import type { Clock, Timer } from '../runtime/clock';
import type { CallContext } from '../runtime/rpc/call';
import type { Implementation } from '../runtime/rpc/handlers';

/** Credentials that are looked at at a time: each may cost the API server a request. */
const MAX_IDENTIFYING = 256;

export interface AttestorServiceOptions {
  attestor: Attestor;
  identifier: WorkloadIdentifier;
  certificates: WorkloadCertificates;
  /** The node that this attestor speaks for. */
  node: string;
  /** False while there is no certified key: streams are refused then, before their credential is used up. */
  ready(): boolean;
  /** The system's, unless told. */
  clock?: Clock;
  /** Requests of one stream that are worked on at a time; the stream is not read further meanwhile. */
  inFlight?: number;
}

/** How often a workload with a stream counts as seen. */
const ALIVE_MS = 30_000;

type Call = ServerDuplexStream<AttestRequest, AttestResponse>;

/** Serves AttestorService: each stream belongs to the workload whose credential opened it, and to no other, until it ends. */
export function attestorService(options: AttestorServiceOptions): Implementation<AttestorServiceServer> {
  const { attestor, certificates, node, inFlight = 128, clock = systemClock } = options;
  const open = new Set<string>();
  let asked = 0;

  const identify = async (metadata: Metadata): Promise<Workload> => {
    const credential = bearer(metadata);
    if (!options.ready())
      throw new RpcError(
        'attestor.not_ready',
        status.UNAVAILABLE,
        'the attestation key is not certified yet: try again',
      );
    if (asked >= MAX_IDENTIFYING)
      throw new RpcError('attestor.busy', status.RESOURCE_EXHAUSTED, 'too many workloads ask at once: try again');
    asked++;
    try {
      const workload = await options.identifier.identify(credential);
      checkIdentity(attestor, workload, node);
      return workload;
    } finally {
      asked--;
    }
  };

  const attest = bidiStream<AttestRequest, AttestResponse>(async (call, context) => {
    const { metadata, signal } = context;
    const workload = await identify(metadata);
    // Whoever else has its credential comes too late; a stream that ended makes room at once.
    if (open.has(workload.workloadUid))
      throw new RpcError(
        'attestor.stream_open',
        status.ALREADY_EXISTS,
        'the workload has a stream, and gets no second one while it lives',
      );
    signal.throwIfAborted();
    open.add(workload.workloadUid);
    const leave = (): void => {
      if (open.delete(workload.workloadUid)) certificates.seen(workload);
    };
    signal.addEventListener('abort', leave, { once: true });
    const alive = every(clock, ALIVE_MS, () => certificates.seen(workload));
    try {
      const shown = shownCertificate(metadata);
      if (shown !== undefined && !(await certificates.isFirst(workload, shown)))
        throw new RpcError(
          'attestor.certificate_changed',
          status.PERMISSION_DENIED,
          'the workload showed another certificate first, and gets evidence for that one alone',
        );
      await serveStream(call, context, { attestor, certificates, workload, inFlight, clock });
    } finally {
      alive.cancel();
      signal.removeEventListener('abort', leave);
      // What came after the abort may hold the place by now.
      if (!signal.aborted) leave();
    }
  });
  return { attest };
}

function bearer(metadata: Metadata): string {
  const values = metadata.get('authorization');
  const [, credential] =
    values.length === 1 && typeof values[0] === 'string' ? (/^Bearer (\S+)$/.exec(values[0]) ?? []) : [];
  if (credential === undefined) {
    throw new RpcError(
      'attestor.no_credential',
      status.UNAUTHENTICATED,
      'expected metadata "authorization: Bearer CREDENTIAL", once',
    );
  }
  return credential;
}

/** Metadata "certificate-sha256": a workload says at once which certificate is its own, before anybody else can. */
function shownCertificate(metadata: Metadata): Buffer | undefined {
  const values = metadata.get('certificate-sha256');
  if (values.length === 0) return undefined;
  const [value] = values;
  if (values.length === 1 && typeof value === 'string' && /^[0-9a-f]{64}$/.test(value))
    return Buffer.from(value, 'hex');
  throw new RpcError(
    'attestor.bad_request',
    status.INVALID_ARGUMENT,
    'expected metadata "certificate-sha256" as 64 hexadecimal digits in lower case, once',
  );
}

/** What no verifier would take is found out here, once for the stream. */
function checkIdentity(attestor: Attestor, workload: Workload, node: string): void {
  const some = Buffer.alloc(32);
  const purpose = Purpose.PURPOSE_CERTIFICATE;
  if (workload.node !== node)
    throw new RpcError('attestor.wrong_node', status.PERMISSION_DENIED, 'the workload runs on another node');
  try {
    attestor.claims(workload, AttestRequest.fromPartial({ purpose, nonce: some, clientKeySha256: some }));
  } catch (cause) {
    throw new RpcError(
      'attestor.bad_identity',
      status.PERMISSION_DENIED,
      'the identity of the workload can not stand in evidence',
      { cause },
    );
  }
}

interface StreamOptions {
  attestor: Attestor;
  certificates: WorkloadCertificates;
  workload: Workload;
  inFlight: number;
  clock: Clock;
}

/** Answers requests until the caller ends the stream, is gone, or its credential ends. Answers may overtake one another. */
async function serveStream(
  call: Call,
  context: CallContext,
  { attestor, certificates, workload, inFlight, clock }: StreamOptions,
): Promise<void> {
  const { signal, log, tracer } = context;
  const checks = new RequestChecks();
  const answering = new Map<bigint, Promise<void>>();
  let expiry: Timer | undefined;
  let closed = false;
  let written = Promise.resolve();

  const answer = async (request: AttestRequest): Promise<void> => {
    const parent = parseTraceparent(request.traceparent) ?? null;
    const span = { name: AttestorServiceService.attest.path, kind: KIND.server, parent, tracer };
    const result = await withSpan(span, async () => {
      const found = await resultOf({ attestor, certificates, workload }, checks, request, context);
      log.debug({ workload: workload.workloadUid, result: found?.$case }, 'answered');
      return found;
    });
    // One after another: a batch answers a hundred requests of a stream at once, and only one of them can wait for room.
    written = written.then(() =>
      signal.aborted || closed ? undefined : writeMessage(call, { id: request.id, result }),
    );
    await written;
  };

  try {
    await new Promise<void>((resolve, reject) => {
      call.on('data', (request: AttestRequest) => {
        if (answering.has(request.id)) {
          reject(
            new RpcError(
              'attestor.duplicate_id',
              status.INVALID_ARGUMENT,
              'expected an id that is not in flight, got one that is',
            ),
          );
          return;
        }
        const done = answer(request)
          .catch(reject)
          .finally(() => {
            answering.delete(request.id);
            call.resume();
          });
        answering.set(request.id, done);
        if (answering.size >= inFlight) call.pause();
      });
      call.on('end', resolve);
      call.on('error', reject);
      signal.addEventListener('abort', () => resolve(), { once: true });
      expiry = expireAt(workload.expiresAt, clock, reject);
    });
    await Promise.all(answering.values());
  } finally {
    closed = true;
    expiry?.cancel();
  }
}

function expireAt(seconds: number | undefined, clock: Clock, reject: (error: Error) => void): Timer | undefined {
  if (seconds === undefined) return undefined;
  const expired = (): void =>
    reject(
      new RpcError(
        'attestor.credential_expired',
        status.UNAUTHENTICATED,
        'the credential has ended: open another stream',
      ),
    );
  return at(clock, seconds * 1000, expired);
}

async function resultOf(
  { attestor, certificates, workload }: Pick<StreamOptions, 'attestor' | 'certificates' | 'workload'>,
  checks: RequestChecks,
  request: AttestRequest,
  { signal, log }: CallContext,
): Promise<AttestResponse['result']> {
  try {
    const claims = claimsOf(attestor, workload, request);
    const certificateSha256 = checks.check(request);
    if (!(await certificates.isFirst(workload, certificateSha256))) throw certificateChanged();
    if (attestor.busy) throw new AttestRefusal('attestor.busy', 'too many requests wait for the TPM', true);
    return { $case: 'evidence', value: await attestor.makeEvidence(claims, request, signal) };
  } catch (error) {
    if (error instanceof AttestRefusal) {
      log.info({ code: error.code, workload: workload.workloadUid }, 'refused');
      return { $case: 'failure', value: { code: error.code, message: error.message, retryable: error.retryable } };
    }
    if (error instanceof RpcError) {
      log.warn({ code: error.code, workload: workload.workloadUid }, 'refused');
      return { $case: 'failure', value: { code: error.code, message: error.message, retryable: true } };
    }
    if (!signal.aborted) log.error({ err: error }, 'no evidence');
    return { $case: 'failure', value: { code: 'internal', message: 'internal error', retryable: false } };
  }
}

/** The workload was looked at when its stream began: what can't stand in claims now is the request's. @throws AttestRefusal attestor.bad_request */
function claimsOf(attestor: Attestor, workload: Workload, request: AttestRequest): Buffer {
  try {
    return attestor.claims(workload, request);
  } catch (cause) {
    if (!(cause instanceof EvidenceError)) throw cause;
    throw new AttestRefusal('attestor.bad_request', cause.message, false, { cause });
  }
}
