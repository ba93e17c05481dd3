import { generateKeyPairSync } from 'node:crypto';
import { credentials, Metadata, Server, ServerCredentials, status } from '@grpc/grpc-js';
import type { sendUnaryData, ServerUnaryCall } from '@grpc/grpc-js';
import { HeldSeat } from '../../client/seat';
import { Evidence } from '../../proto/gen/licensing/v1/evidence';
import { SeatServiceClient, SeatServiceService } from '../../proto/gen/licensing/v1/seat';
import type { RenewSeatRequest, RenewSeatResponse, SeatGrant } from '../../proto/gen/licensing/v1/seat';
import { SessionServiceClient, SessionServiceService } from '../../proto/gen/licensing/v1/session';
import { eventually } from '../support/eventually';
import { TestClock } from '../support/clock';

const grantOf = (token: string): SeatGrant => ({
  seat: 'seat-1',
  token,
  expiresAt: BigInt(Math.floor(Date.now() / 1000) + 180),
  heartbeatSeconds: 60,
});
const answer =
  (value: object) =>
  (_: unknown, callback: sendUnaryData<never>): void =>
    callback(null, value as never);

let server: Server;
let renewals: RenewSeatRequest[];
let shown: string[];
/** The code that the service answers a renewal without a token with; '' for none. */
let refusal: string;
let seat: HeldSeat;
let refused: string[];
const clock = new TestClock();

beforeEach(async () => {
  [renewals, shown, refused, refusal] = [[], [], [], ''];
  server = new Server();
  server.addService(SeatServiceService, {
    takeSeat: answer({ grant: grantOf('first') }),
    renewSeat: (
      { request }: ServerUnaryCall<RenewSeatRequest, RenewSeatResponse>,
      callback: sendUnaryData<RenewSeatResponse>,
    ) => {
      renewals.push(request);
      if (request.token !== '' || refusal === '')
        return callback(null, { grant: grantOf(`after ${request.token || 'a heartbeat'}`) });
      const metadata = new Metadata();
      metadata.set('sls-reason', refusal);
      callback({ code: status.UNAVAILABLE, details: 'away', metadata });
    },
    endSeat: answer({}),
    listSeats: answer({}),
    freeSeats: answer({}),
  });
  const sessions = Object.fromEntries(Object.keys(SessionServiceService).map((name) => [name, answer({})]));
  server.addService(SessionServiceService, {
    ...sessions,
    holdSeat: ({ request }: { request: { token: string } }, callback: sendUnaryData<never>) => {
      shown.push(request.token);
      callback(null, {} as never);
    },
    signHeartbeat: answer({ heartbeat: { at: 1n, signature: Buffer.alloc(64) } }),
  });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  const target = [`127.0.0.1:${port}`, credentials.createInsecure()] as const;
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  seat = await HeldSeat.take(
    new SeatServiceClient(...target),
    new SessionServiceClient(...target),
    { clientKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), clientCertificates: [] },
    { evidence: Evidence.fromPartial({}), closedSeats: [] },
    { clock, onSeatRefused: ({ code }) => refused.push(code) },
  );
});
afterEach(async () => {
  await seat.end();
  server.forceShutdown();
});

/** @returns the tokens that the service was shown by one heartbeat */
async function beat(): Promise<string[]> {
  renewals = [];
  const before = shown.length;
  await clock.untilWaiting();
  await clock.advance(60_000);
  await eventually(() => shown.length > before);
  return renewals.map(({ token }) => token);
}

test('a heartbeat renews the seat, without the token, which a service of the release before would refuse', async () => {
  expect(await beat()).toEqual(['']);
  expect(shown).toEqual(['first', 'after a heartbeat']);
});

test('a service whose database is away gets the last token, and the enclave what it makes of that', async () => {
  refusal = 'store.unavailable';
  expect(await beat()).toEqual(['', 'first']);
  expect(await beat()).toEqual(['', 'after first']);
  refusal = '';
  expect(await beat()).toEqual(['']);
  expect(shown).toEqual(['first', 'after first', 'after after first', 'after a heartbeat']);
  expect(refused).toEqual([]);
});
