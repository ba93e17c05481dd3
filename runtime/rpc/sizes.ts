import { ServerInterceptingCall, status } from '@grpc/grpc-js';
import type { ServerInterceptor, ServiceDefinition } from '@grpc/grpc-js';
import { RpcError, toStatus } from './errors';
import { ruleOf } from './rules';

/** Takes the place of a message that is too large to be looked at, or can't be read. */
class Refused {
  constructor(readonly refusal: RpcError) {}
}

/** From here on messages carry files, and go their way without a detour: grpc-js refuses what of them can't be read, as INTERNAL. */
const BULK_BYTES = 512 * 1024;

/** The largest request of any method, which is what grpc-js refuses before it is there. */
export function largestRequest(services: readonly ServiceDefinition[]): number {
  return Math.max(
    ...services.flatMap((definition) => Object.values(definition).map(({ path }) => ruleOf(path).requestBytes)),
  );
}

/**
 * The definition with each method's own limits of request and answer, and with a refusal of what can't be read: grpc-js has one limit for a server, and says INTERNAL. What is refused
 * is answered by `refuseUnread`, which has to stand before it.
 */
export function limitRequests<Definition extends ServiceDefinition>(
  definition: Definition,
  largest: number,
): Definition {
  const limited = Object.entries(definition).map(([name, method]) => {
    const { requestBytes: most } = ruleOf(method.path);
    if (most >= BULK_BYTES && most >= largest) return [name, method];
    const { requestDeserialize } = method as { requestDeserialize(bytes: Buffer): unknown };
    const responseSerialize = limitAnswer(method as Parameters<typeof limitAnswer>[0]);
    const limitedDeserialize = (bytes: Buffer): unknown => {
      if (bytes.length > most) return new Refused(tooLarge(bytes.length, most));
      try {
        return requestDeserialize(bytes);
      } catch (cause) {
        return new Refused(malformed(cause));
      }
    };
    return [name, { ...method, requestDeserialize: limitedDeserialize, responseSerialize }];
  });
  return Object.fromEntries(limited) as Definition;
}

/** Holds answers to their rule: grpc-js makes what it throws an answer INTERNAL, so it says nothing that isn't in the table. */
function limitAnswer({
  path,
  responseSerialize,
}: {
  path: string;
  responseSerialize(message: unknown): Buffer;
}): (message: unknown) => Buffer {
  const { answerBytes: most } = ruleOf(path).cost;
  return (message) => {
    const bytes = responseSerialize(message);
    if (bytes.length <= most) return bytes;
    throw new RangeError(`expected an answer of ${most} bytes at most, got ${bytes.length}`);
  };
}

/** Answers RESOURCE_EXHAUSTED `rpc.too_large` or INVALID_ARGUMENT `rpc.malformed` instead of the method. */
export function refuseUnread(largest: number): ServerInterceptor {
  return ({ path }, call) => {
    const { requestBytes: most } = ruleOf(path);
    if (most >= BULK_BYTES && most >= largest) return call as ServerInterceptingCall;
    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, pass) => pass(metadata),
          onReceiveMessage(message: unknown, pass) {
            if (message instanceof Refused) call.sendStatus(toStatus(message.refusal));
            else pass(message);
          },
          onReceiveHalfClose: (pass) => pass(),
          onCancel: () => undefined,
        }),
    });
  };
}

function tooLarge(bytes: number, most: number): RpcError {
  return new RpcError(
    'rpc.too_large',
    status.RESOURCE_EXHAUSTED,
    `expected a request of ${most} bytes at most, got ${bytes}`,
  );
}

function malformed(cause: unknown): RpcError {
  return new RpcError(
    'rpc.malformed',
    status.INVALID_ARGUMENT,
    'expected the message of this method, with all text in UTF-8, got other bytes',
    { cause },
  );
}
