import { status } from '@grpc/grpc-js';
import { exchangeIdToken } from '../../../client/oidc/service';
import type { CodedError } from '../../../errors/coded-error';
import type { WireCode } from '../../../errors/codes';
import { AccountServiceService } from '../../../proto/gen/licensing/v1/account';
import type { AccountServiceServer } from '../../../proto/gen/licensing/v1/account';
import { RpcError } from '../../../runtime/rpc/errors';
import { unary } from '../../../runtime/rpc/handlers';
import type { Implementation } from '../../../runtime/rpc/handlers';
import { startServer } from '../../../runtime/rpc/server';
import type { RunningServer } from '../../../runtime/rpc/server';
import type { TrustBundle } from '../../../attestation/trust/bundle';
import { MovedClock } from '../../support/clock';

/** What the service says of an ID token. */
let code: WireCode;
let service: RunningServer;
beforeAll(async () => {
  const refuse = unary((): never => {
    throw new RpcError(code, status.UNAUTHENTICATED, 'refused');
  });
  service = await startServer({
    authenticate: () => Promise.resolve(),
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    services: [
      {
        definition: AccountServiceService,
        implementation: Object.fromEntries(
          Object.keys(AccountServiceService).map((name) => [name, refuse]),
        ) as unknown as Implementation<AccountServiceServer>,
      },
    ],
  });
});
afterAll(() => service.stop(0));

/** An hour ahead of the service's. */
async function refusalByClockAhead(): Promise<CodedError> {
  const address = `http://127.0.0.1:${service.port}`;
  const trust = { services: { signup: address, login: address }, serverRoots: [] } as unknown as TrustBundle;
  const clock = new MovedClock();
  clock.advance(3_600_000);
  const refusal = await exchangeIdToken(trust, { idToken: 'x' }, { clock }).then(
    () => undefined,
    (error: unknown) => error as CodedError,
  );
  expect(refusal).toMatchObject({ code });
  return refusal!;
}

test.each(['oidc.token_invalid', 'oidc.provider_unavailable'] as const)(
  'a login at the provider that fails with %s, which a clock can explain, says by how much the clocks differ',
  async (refused) => {
    code = refused;
    const { clockAheadSeconds = 0 } = await refusalByClockAhead();
    expect(Math.abs(clockAheadSeconds - 3_600)).toBeLessThan(30);
  },
);

test('one that no clock explains compares none', async () => {
  code = 'oidc.unknown_user';
  expect((await refusalByClockAhead()).clockAheadSeconds).toBeUndefined();
});
