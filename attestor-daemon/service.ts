import { status } from '@grpc/grpc-js';
import type { Metadata, ServerDuplexStream } from '@grpc/grpc-js';
import { logger } from '../runtime/log/logger';
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
import { AttestRefusal, RequestChecks } from './requests';
import { KIND } from '../runtime/traces/record';
import { systemClock } from '../runtime/clock';
import type { Clock, Timer } from '../runtime/clock';

/** Credentials that are looked at at a time: each may cost the API server a request. */
const MAX_IDENTIFYING = 256;

export interface AttestorServiceOptions {
  attestor: Attestor;
  identifier: WorkloadIdentifier;
  /** The node that this attestor speaks for. */
  node: string;
  /** False while there is no certified key: streams are refused then, before their credential is used up. */
  ready(): boolean;
  /** The system's, unless told. */
  clock?: Clock;
  /** Requests of one stream that are worked on at a time; the stream is not read further meanwhile. */
  inFlight?: number;
  /** Streams of one workload at a time. */
  streams?: number;
}

type Call = ServerDuplexStream<AttestRequest, AttestResponse>;

/** Serves AttestorService: each stream belongs to the workload whose credential opened it, and to no other, until it ends. */
export function attestorService(options: AttestorServiceOptions): AttestorServiceServer {
  const { attestor, node, inFlight = 128, streams = 8, clock = systemClock } = options;
  const open = new Map<string, number>();
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

  const attest = bidiStream<AttestRequest, AttestResponse>(async (call, { metadata, signal }) => {
    const workload = await identify(metadata);
    const count = open.get(workload.workloadUid) ?? 0;
    if (count >= streams)
      throw new RpcError(
        'attestor.too_many_streams',
        status.RESOURCE_EXHAUSTED,
        `expected ${streams} streams of a workload at most`,
      );
    open.set(workload.workloadUid, count + 1);
    try {
      await serveStream(call, signal, { attestor, workload, inFlight, clock });
    } finally {
      const left = (open.get(workload.workloadUid) ?? 1) - 1;
      if (left > 0) open.set(workload.workloadUid, left);
      else open.delete(workload.workloadUid);
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

/** Answers requests until the caller ends the stream, is gone, or its credential ends. Answers may overtake one another. */
async function serveStream(
  call: Call,
  signal: AbortSignal,
  { attestor, workload, inFlight, clock }: { attestor: Attestor; workload: Workload; inFlight: number; clock: Clock },
): Promise<void> {
  const checks = new RequestChecks();
  const answering = new Map<bigint, Promise<void>>();
  let expiry: Timer | undefined;
  let closed = false;
  let written = Promise.resolve();

  const answer = async (request: AttestRequest): Promise<void> => {
    const parent = parseTraceparent(request.traceparent) ?? null;
    const result = await withSpan({ name: AttestorServiceService.attest.path, kind: KIND.server, parent }, async () => {
      const found = await resultOf(attestor, workload, checks, request, signal);
      logger.debug({ workload: workload.workloadUid, result: found?.$case }, 'answered');
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
  return clock.after(seconds * 1000 - clock.now(), expired);
}

async function resultOf(
  attestor: Attestor,
  workload: Workload,
  checks: RequestChecks,
  request: AttestRequest,
  signal: AbortSignal,
): Promise<AttestResponse['result']> {
  try {
    const claims = claimsOf(attestor, workload, request);
    checks.check(request);
    if (attestor.busy) throw new AttestRefusal('attestor.busy', 'too many requests wait for the TPM', true);
    return { $case: 'evidence', value: await attestor.makeEvidence(claims, request, signal) };
  } catch (error) {
    if (error instanceof AttestRefusal) {
      logger.info({ code: error.code, workload: workload.workloadUid }, 'refused');
      return { $case: 'failure', value: { code: error.code, message: error.message, retryable: error.retryable } };
    }
    if (!signal.aborted) logger.error({ err: error }, 'no evidence');
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
