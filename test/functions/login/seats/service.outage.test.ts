import { createAuthority } from '../../../../licensing/authority/authority';
import { verifySeatToken } from '../../../../attestation/seats/token';
import { systemClock } from '../../../../runtime/clock';
import { TRUST_DOMAIN, writeAccountFiles } from '../../../support/accounts';
import type { AccountFiles } from '../../../support/accounts';
import { noPostgres, startTestPostgres } from '../../../support/postgres';
import type { TestPostgres } from '../../../support/postgres';
import type { FakeTpm } from '../../../support/evidence';
import { loginTpm } from '../../../support/login-trust';
import { startReplica } from '../../../support/replica';
import type { Replica } from '../../../support/replica';
import { newSeatClient, openConnection, renewSeat, takeSeat } from '../../../support/seats';
import type { CertifiedKey } from '../../../../runtime/keys/key-pair';

const SEAT_SECONDS = 180;
const onServer = noPostgres === undefined ? describe : describe.skip;

onServer('a database that is stopped', () => {
  let server: TestPostgres;
  let files: AccountFiles;
  let clientCa: CertifiedKey;
  let replica: Replica;
  let tpm: FakeTpm;
  let ahead = 0;

  beforeAll(async () => {
    server = await startTestPostgres();
    files = await writeAccountFiles(server.url);
    clientCa = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
    tpm = await loginTpm();
    replica = await startReplica(files, clientCa, () => Promise.reject(new Error('no enclave')), {
      defaultSeats: 1,
      seatSeconds: SEAT_SECONDS,
      seatOutageSeconds: 3600,
      // Statements and certificates take the real time; an outage need not take its own.
      clock: { ...systemClock, monotonic: () => systemClock.monotonic() + ahead * 1000 },
    });
  });
  afterAll(async () => {
    await replica.stop();
    await files.remove();
    await server.stop();
  });

  test('leaves the seats that counted to those who had them, and gives nobody another one', async () => {
    if (!server.canRestart) return;
    await replica.seatWatch.mark();
    const client = await newSeatClient(replica, clientCa);
    const connection = await openConnection(client, tpm);
    const { seat, token, expiresAt } = await takeSeat(replica.seats, connection);

    await server.kill();
    await expect(replica.seatWatch.mark()).toRejectWithCode('store.unavailable');
    // That it failed once is no outage yet.
    await expect(renewSeat(replica.seats, connection, seat, { token })).toRejectWithCode('store.unavailable');
    ahead = 20;
    const stays = await renewSeat(replica.seats, connection, seat, { token });
    expect(stays.expiresAt).toBeGreaterThanOrEqual(expiresAt);
    const context = { rootsPem: clientCa.certificate, trustDomain: TRUST_DOMAIN, now: new Date() };
    expect(await verifySeatToken(stays.token, context)).toMatchObject({
      seat,
      user: client.user,
      tlsExporter: connection.tlsExporter,
      grantedUntil: Number(expiresAt),
    });
    // Nothing but the seat's own token speaks for it, and none is taken.
    const another = await newSeatClient({ backend: replica.backend }, clientCa, client.user).catch(() => undefined);
    expect(another).toBeUndefined();
    for (const wrong of ['', 'x', token.replace(/.{8}$/, 'AAAAAAAA')])
      await expect(renewSeat(replica.seats, connection, seat, { token: wrong })).toRejectWithCode('store.unavailable');
    await expect(
      renewSeat(replica.seats, connection, '2d4e7c1a-5b0f-4a53-9f5e-0c8d1a2b3c4d', { token }),
    ).toRejectWithCode('store.unavailable');
    await expect(takeSeat(replica.seats, await openConnection(client, tpm))).toRejectWithCode('store.unavailable');

    await server.start();
    // It took an hour, by the database's clock; an hour without a heartbeat that it knows of.
    const { query } = replica.backend.database;
    await query("UPDATE seat_watch SET at = at - interval '3000 seconds'");
    await query("UPDATE seats SET expires_at = expires_at - interval '3000 seconds'");
    // Still by login's word, until its own mark.
    expect((await renewSeat(replica.seats, connection, seat, { token: stays.token })).token).not.toBe('');
    await expect(takeSeat(replica.seats, await openConnection(client, tpm))).toRejectWithCode('seat.none_free');
    const after = await renewSeat(replica.seats, connection, seat, { token: stays.token });
    expect(await verifySeatToken(after.token, context)).not.toHaveProperty('grantedUntil');
    await expect(takeSeat(replica.seats, await openConnection(client, tpm))).toRejectWithCode('seat.none_free');
  });
});
