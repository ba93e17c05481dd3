import { Client } from '@grpc/grpc-js';
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import type { TrustBundle } from '../../client/index';
import { channelCredentials, grpcTarget, parseAddress } from '../../runtime/rpc/address';
import { fromServiceError } from '../../runtime/rpc/errors';
import { serverStream, unary } from '../../runtime/rpc/handlers';
import type { Implementation } from '../../runtime/rpc/handlers';
import { startServer } from '../../runtime/rpc/server';
import { LoginServiceService } from '../../proto/gen/licensing/v1/login';
import { SeatServiceService } from '../../proto/gen/licensing/v1/seat';
import { TransparencyServiceService } from '../../proto/gen/licensing/v1/transparency';
import { TrustServiceService } from '../../proto/gen/licensing/v1/trust';

const SERVICES: ServiceDefinition[] = [
  LoginServiceService,
  TransparencyServiceService,
  TrustServiceService,
  SeatServiceService,
];

/** A login service that was taken over: passes calls on to the real one, and says what it likes of the answers. */
export interface LyingService {
  /** The installation's own bundle, but for where the login service is. */
  trust: TrustBundle;
  /** By name of the method, such as GetTreeHead: what it makes of an answer; throws RpcError to give none. */
  lies: Record<string, (answer: never) => unknown>;
  /** By name of the method: what it asks the real one instead. */
  asks: Record<string, (request: never) => unknown>;
  stop(): Promise<void>;
}

export async function startLyingService(trust: TrustBundle): Promise<LyingService> {
  const address = parseAddress(trust.services.login);
  const real = new Client(grpcTarget(address), channelCredentials(address, Buffer.from(trust.serverRoots.join('\n'))));
  const lies: LyingService['lies'] = {};
  const asks: LyingService['asks'] = {};
  const server = await startServer({
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    // The real one does.
    authenticate: () => Promise.resolve(),
    services: SERVICES.map((definition) => ({
      definition,
      implementation: Object.fromEntries(
        Object.entries(definition).map(([name, method]) => [
          name,
          passOn(real, method as MethodDefinition<unknown, unknown>, lies, asks),
        ]),
      ) as Implementation,
    })),
  });
  return {
    trust: { ...trust, services: { ...trust.services, login: `http://127.0.0.1:${server.port}` } },
    lies,
    asks,
    async stop() {
      real.close();
      await server.stop(0);
    },
  };
}

function passOn(
  real: Client,
  { path, requestSerialize, responseDeserialize, responseStream }: MethodDefinition<unknown, unknown>,
  lies: LyingService['lies'],
  asks: LyingService['asks'],
): unknown {
  const asked = (request: unknown): unknown =>
    (asks[path.split('/')[2] ?? ''] as ((request: unknown) => unknown) | undefined)?.(request) ?? request;
  const change = (answer: unknown): unknown =>
    (lies[path.split('/')[2] ?? ''] as ((answer: unknown) => unknown) | undefined)?.(answer) ?? answer;
  if (!responseStream) {
    return unary((request: unknown, { metadata }) =>
      new Promise((resolve, reject) => {
        real.makeUnaryRequest(path, requestSerialize, responseDeserialize, asked(request), metadata, (error, answer) =>
          error ? reject(fromServiceError(error)) : resolve(answer),
        );
      }).then(change),
    );
  }
  return serverStream(async (call) => {
    const answers = real.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      asked(call.request),
      call.metadata,
    );
    try {
      for await (const answer of answers) call.write(change(answer));
    } catch (error) {
      throw fromServiceError(error as Parameters<typeof fromServiceError>[0]);
    }
  });
}
