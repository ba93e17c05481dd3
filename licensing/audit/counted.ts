import { status } from '@grpc/grpc-js';
import type {
  Metadata,
  MethodDefinition,
  ServiceDefinition,
  UntypedHandleCall,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { REASON_KEY } from '../../runtime/rpc/errors';
import type { Refusals } from './refusals';

/** Decisions, as against mistakes of the caller and failures of our own. */
const DECISIONS = new Set([
  status.UNAUTHENTICATED,
  status.PERMISSION_DENIED,
  status.RESOURCE_EXHAUSTED,
  status.FAILED_PRECONDITION,
]);
/** Codes that say nothing about the caller: of the transport, and of the log itself. */
const NO_DECISION = /^(rpc|audit)\./;

const users = new WeakMap<Metadata, string>();

/** Notes whom a call is about, once that is known. For the audit alone: nothing of it reaches the caller. @param metadata the call's own */
export function aboutUser(user: string | undefined, metadata: Metadata): void {
  if (user !== undefined) users.set(metadata, user);
}

interface Service {
  definition: ServiceDefinition;
  implementation: UntypedServiceImplementation;
}

/** The same services, whose refusals are counted: of each method that is there, and of those that come later. */
export function countingRefusals(refusals: Refusals, services: readonly Service[]): Service[] {
  return services.map(({ definition, implementation }) => ({
    definition,
    implementation: Object.fromEntries(
      Object.entries(definition).map(([name, method]) => [
        name,
        counted(method, implementation[name] as AnyHandler, refusals),
      ]),
    ),
  }));
}

interface AnyCall {
  metadata: Metadata;
  on(event: 'error', listener: (refusal: Refused) => void): unknown;
}

/** An error as it crosses the wire: see toStatus. */
interface Refused {
  code?: unknown;
  metadata?: Metadata;
}

type Callback = (refusal: Refused | null, ...rest: unknown[]) => void;
type AnyHandler = (call: AnyCall, callback?: Callback) => void;

function counted(
  method: MethodDefinition<unknown, unknown>,
  handle: AnyHandler,
  refusals: Refusals,
): UntypedHandleCall {
  const count = ({ metadata }: AnyCall, refusal: Refused): void => {
    const reason = refusal.metadata?.get(REASON_KEY)[0];
    if (typeof reason !== 'string' || !DECISIONS.has(refusal.code as status) || NO_DECISION.test(reason)) return;
    refusals.count({ reason, user: users.get(metadata) });
  };
  const counting: AnyHandler = (call, callback) => {
    if (callback === undefined || method.responseStream) {
      call.on('error', (refusal) => count(call, refusal));
      return handle(call);
    }
    return handle(call, (refusal, ...rest) => {
      if (refusal) count(call, refusal);
      callback(refusal, ...rest);
    });
  };
  return counting as unknown as UntypedHandleCall;
}
