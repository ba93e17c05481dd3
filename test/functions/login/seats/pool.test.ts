import { createAuthority } from '../../../../licensing/authority/authority';
import { callUnary } from '../../../../runtime/rpc/client';
import { TRUST_DOMAIN, writeAccountFiles } from '../../../support/accounts';
import type { AccountFiles } from '../../../support/accounts';
import { testDatabase } from '../../../support/postgres';
import { giveLicence, insertLicence, keyOf } from '../../../support/licences';
import { loginTpm } from '../../../support/login-trust';
import { startReplica } from '../../../support/replica';
import type { Replica } from '../../../support/replica';
import { bearer, closingOf, endSeat, newSeatClient, openConnection, renewSeat, takeSeat } from '../../../support/seats';
import type { Connection } from '../../../support/seats';
import type { CertifiedKey } from '../../../../runtime/keys/key-pair';

let database: { url: string; stop(): Promise<void> };
let files: AccountFiles;
let clientCa: CertifiedKey;
/** Of one installation: before its operator demanded licences, and since. */
let before: Replica;
let since: Replica;

beforeAll(async () => {
  database = await testDatabase();
  files = await writeAccountFiles(database.url);
  clientCa = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
  const start = (licenceRequired: boolean): Promise<Replica> =>
    startReplica(files, clientCa, () => Promise.reject(new Error('no enclave')), { licenceRequired });
  before = await start(false);
  since = await start(true);
});
afterAll(async () => {
  await Promise.all([before.stop(), since.stop()]);
  await files.remove();
  await database.stop();
});

async function connected(): Promise<Connection> {
  return openConnection(await newSeatClient(since, clientCa), await loginTpm());
}

test('a licence for one account and one seat keeps one of its users at work, not everyone who redeems it and gives it back', async () => {
  const { licences, seats } = since;
  const licence = await insertLicence(since.backend.database, { plan: { seats: 1 } });
  const key = await keyOf(licence);
  const redeem = async ({ client }: Connection): Promise<unknown> =>
    callUnary(licences, licences.redeemLicence, { key, password: undefined, oneTimeCode: '' }, bearer(client));

  const first = await connected();
  await redeem(first);
  const { seat, token } = await takeSeat(seats, first);
  await renewSeat(seats, first, seat);
  await callUnary(
    licences,
    licences.dropLicence,
    { licence, password: undefined, oneTimeCode: '' },
    bearer(first.client),
  );
  await expect(renewSeat(seats, first, seat)).toRejectWithCode('licence.required');
  await expect(takeSeat(seats, await openConnection(first.client, await loginTpm()))).toRejectWithCode(
    'licence.required',
  );

  const second = await connected();
  await redeem(second);
  // Until its heartbeat has been missed the first one's seat is taken.
  await expect(takeSeat(seats, second)).toRejectWithCode('seat.none_free');
  await endSeat(seats, token, closingOf(first, seat));
  await takeSeat(seats, second);
});

test('nobody takes a seat who never had a licence', async () => {
  await expect(takeSeat(since.seats, await connected())).toRejectWithCode('licence.required');
});

test('sessions that began without a licence before one was needed go on, and count by one that is redeemed', async () => {
  const connection = await connected();
  const { seat } = await takeSeat(before.seats, connection);
  await renewSeat(since.seats, connection, seat);
  await giveLicence(since.backend.database, await insertLicence(since.backend.database), connection.client.user);
  await renewSeat(since.seats, connection, seat);
  expect((await callUnary(since.seats, since.seats.listSeats, {}, bearer(connection.client))).taken).toBe(1);
});
