import { status } from '@grpc/grpc-js';
import { channelCredentials, parseAddress } from '../../runtime/rpc/address';
import { callUnary } from '../../runtime/rpc/client';
import { RpcError } from '../../runtime/rpc/errors';
import type { Evidence } from '../../proto/gen/licensing/v1/evidence';
import { EnclaveServiceClient } from '../../proto/gen/licensing/v1/enclave';
import type { EnclaveServiceAttestRequest } from '../../proto/gen/licensing/v1/enclave';
import { systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';
import { Backoff } from '../../runtime/backoff';
import type { Enclave } from './launcher/launcher';
import { channelTo } from '../../runtime/rpc/proxy';

const RETRY = { firstMs: 50, mostMs: 1_000 };
/** One try: a quote takes up to a second on a slow TPM, and requests may wait for the quote before. */
const ATTEMPT_MS = 20_000;
const CHANNEL_OPTIONS = { 'grpc.initial_reconnect_backoff_ms': 100, 'grpc.max_reconnect_backoff_ms': 1_000 };

/** How long an enclave may take to answer: one that has just been started, and one that was said to run. */
export interface Patience {
  startedMs: number;
  runningMs: number;
}

const PATIENCE: Patience = { startedMs: 30_000, runningMs: 5_000 };

/** What the enclave says when nothing is wrong with it that time would not mend. */
function isPassing(error: RpcError): boolean {
  return error.grpcStatus === status.UNAVAILABLE || error.grpcStatus === status.RESOURCE_EXHAUSTED;
}

/**
 * Asks an enclave for evidence, again and again while it comes up, until `patience` is over.
 * @throws RpcError: the enclave's refusal, or the last failure to reach it (`rpc.unavailable`); the signal's reason when that aborts
 */
export async function attestEnclave(
  enclave: Enclave,
  request: EnclaveServiceAttestRequest,
  {
    signal,
    patience = PATIENCE,
    clock = systemClock,
  }: { signal: AbortSignal; patience?: Patience | undefined; clock?: Clock },
): Promise<Evidence> {
  const address = parseAddress(enclave.innerEndpoint ?? enclave.endpoint);
  const to = channelTo(address);
  const client = new EnclaveServiceClient(to.target, channelCredentials(address), {
    ...CHANNEL_OPTIONS,
    ...to.options,
  });
  const end = clock.monotonic() + (enclave.started ? patience.startedMs : patience.runningMs);
  // With jitter: logins that wait for the same node don't come back in step.
  const backoff = new Backoff({ ...RETRY, clock });
  try {
    for (;;) {
      let delay: number;
      try {
        const { evidence } = await callUnary(client, client.attest, request, { timeout: ATTEMPT_MS, signal });
        if (!evidence)
          throw new RpcError(
            'login.evidence_missing',
            status.FAILED_PRECONDITION,
            'the enclave answered without evidence',
          );
        return evidence;
      } catch (error) {
        signal.throwIfAborted();
        delay = backoff.next();
        if (!(error instanceof RpcError) || !isPassing(error) || clock.monotonic() + delay > end) throw error;
      }
      await clock.sleep(delay, signal);
    }
  } finally {
    client.close();
  }
}
