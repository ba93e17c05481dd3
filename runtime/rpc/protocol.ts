import { status } from '@grpc/grpc-js';
import type { Metadata } from '@grpc/grpc-js';
import { RpcError } from './errors';

/** Metadata of a call, and of its refusal. */
const PROTOCOL_KEY = 'sls-protocol';

/** Versions of the protocol, from the oldest to the newest that a program speaks. */
export interface Protocol {
  oldest: number;
  newest: number;
}

/**
 * What this release speaks. New methods and fields need no other version: who doesn't know them goes on without. `newest` grows where the same call comes to
 * mean something else, `oldest` a release later at the earliest, where what was before is no longer understood.
 */
export const PROTOCOL: Protocol = { oldest: 1, newest: 1 };

/** Says with a call, or with its refusal, what this program speaks. */
export function announce(metadata: Metadata, { oldest, newest }: Protocol = PROTOCOL): void {
  metadata.set(PROTOCOL_KEY, `${oldest}-${newest}`);
}

/** What the other side speaks; undefined where it doesn't say, as releases of before, or not clearly. */
function announced(metadata: Metadata): Protocol | undefined {
  const [, oldest, newest] = /^(\d{1,6})-(\d{1,6})$/.exec(String(metadata.get(PROTOCOL_KEY)[0] ?? '')) ?? [];
  return oldest === undefined ? undefined : { oldest: Number(oldest), newest: Number(newest) };
}

/** @throws RpcError FAILED_PRECONDITION rpc.client_too_old, rpc.client_too_new: caller and program have no version in common */
export function requireCommon(metadata: Metadata, { oldest, newest }: Protocol = PROTOCOL): void {
  const caller = announced(metadata);
  if (caller === undefined) return;
  const refuse = (code: 'rpc.client_too_old' | 'rpc.client_too_new', expected: string, got: number): never => {
    throw new RpcError(
      code,
      status.FAILED_PRECONDITION,
      `expected a client of protocol ${expected}, got one of protocol ${got}`,
    );
  };
  if (caller.newest < oldest) refuse('rpc.client_too_old', `${oldest} or later`, caller.newest);
  if (caller.oldest > newest) refuse('rpc.client_too_new', `${newest} or earlier`, caller.oldest);
}
