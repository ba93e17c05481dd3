import { ServerInterceptingCall, status } from '@grpc/grpc-js';
import type { ServerInterceptor, ServiceDefinition } from '@grpc/grpc-js';
import { RpcError, toStatus } from './errors';
import { ruleOf } from './rules';

/** Takes the place of a message that is too large to be looked at. */
class Oversized {
  constructor(
    readonly bytes: number,
    readonly most: number,
  ) {}
}

/** The largest request of any method, which is what grpc-js refuses before it is there. */
export function largestRequest(services: readonly ServiceDefinition[]): number {
  return Math.max(
    ...services.flatMap((definition) => Object.values(definition).map(({ path }) => ruleOf(path).requestBytes)),
  );
}

/** The definition with each method's own limit: grpc-js has one for a server. Refused by `refuseOversized`, which has to stand before it. */
export function limitSizes<Definition extends ServiceDefinition>(definition: Definition, largest: number): Definition {
  const limited = Object.entries(definition).map(([name, method]) => {
    const { requestBytes: most } = ruleOf(method.path);
    if (most >= largest) return [name, method];
    const { requestDeserialize } = method as { requestDeserialize(bytes: Buffer): unknown };
    const limitedDeserialize = (bytes: Buffer): unknown =>
      bytes.length > most ? new Oversized(bytes.length, most) : requestDeserialize(bytes);
    return [name, { ...method, requestDeserialize: limitedDeserialize }];
  });
  return Object.fromEntries(limited) as Definition;
}

/** Answers RESOURCE_EXHAUSTED `rpc.too_large` instead of the method. */
export function refuseOversized(largest: number): ServerInterceptor {
  return ({ path }, call) => {
    // Bulk data goes its way without a detour.
    if (ruleOf(path).requestBytes >= largest) return call as ServerInterceptingCall;
    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, pass) => pass(metadata),
          onReceiveMessage(message: unknown, pass) {
            if (message instanceof Oversized) call.sendStatus(tooLarge(message));
            else pass(message);
          },
          onReceiveHalfClose: (pass) => pass(),
          onCancel: () => undefined,
        }),
    });
  };
}

function tooLarge({ bytes, most }: Oversized): ReturnType<typeof toStatus> {
  return toStatus(
    new RpcError(
      'rpc.too_large',
      status.RESOURCE_EXHAUSTED,
      `expected a request of ${most} bytes at most, got ${bytes}`,
    ),
  );
}
