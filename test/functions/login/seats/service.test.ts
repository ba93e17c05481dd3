import { randomUUID } from 'node:crypto';
import { decodeJwt } from 'jose';
import { createAuthority } from '../../../../licensing/authority/authority';
import { callUnary } from '../../../../runtime/rpc/client';
import { signSeatProof } from '../../../../attestation/seats/statements';
import { verifySeatToken } from '../../../../attestation/seats/token';
import { revoke } from '../../../../licensing/revocation/store';
import { makeIdentity } from '../../../../enclave/identity';
import type { ClosedSeat } from '../../../../proto/gen/licensing/v1/seat';
import { Purpose } from '../../../../proto/gen/licensing/v1/evidence';
import { recordsOf } from '../../../support/audit';
import { TRUST_DOMAIN, writeAccountFiles } from '../../../support/accounts';
import type { AccountFiles } from '../../../support/accounts';
import { testDatabase } from '../../../support/postgres';
import { makeFakeTpm } from '../../../support/evidence';
import type { FakeTpm } from '../../../support/evidence';
import { giveLicence, insertLicence } from '../../../support/licences';
import { newClientKey } from '../../../support/login-client';
import { loginTpm } from '../../../support/login-trust';
import { startReplica } from '../../../support/replica';
import type { Replica } from '../../../support/replica';
import {
  bearer,
  closingOf,
  endSeat,
  newSeatClient,
  newWorkload,
  openConnection,
  renewSeat,
  takeRequest,
  takeSeat,
} from '../../../support/seats';
import type { Connection, SeatClient } from '../../../support/seats';
import { issueClientCertificate } from '../../../../licensing/authority/client';
import type { CertifiedKey } from '../../../../runtime/keys/key-pair';

/** Longer than any test takes. */
const SEAT_SECONDS = 180;

let database: { url: string; stop(): Promise<void> };
let files: AccountFiles;
let clientCa: CertifiedKey;
let replica: Replica;
let tpm: FakeTpm;

beforeAll(async () => {
  database = await testDatabase();
  files = await writeAccountFiles(database.url);
  clientCa = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
  tpm = await loginTpm();
  replica = await startReplica(files, clientCa, () => Promise.reject(new Error('no enclave')), {
    defaultSeats: 2,
    seatSeconds: SEAT_SECONDS,
  });
});
afterAll(async () => {
  await replica.stop();
  await files.remove();
  await database.stop();
});

const newClient = (user?: string): Promise<SeatClient> => newSeatClient(replica, clientCa, user);

async function licensed(seats: number, ...clients: SeatClient[]): Promise<string> {
  const licence = await insertLicence(replica.backend.database, { plan: { seats }, accounts: clients.length });
  for (const { user } of clients) await giveLicence(replica.backend.database, licence, user);
  return licence;
}

async function listed(client: SeatClient): Promise<{ seats: string[]; taken: number; limit: number }> {
  const { seats, taken, limit } = await callUnary(replica.seats, replica.seats.listSeats, {}, bearer(client));
  return { seats: seats.map(({ seat }) => seat), taken, limit };
}

/** The database's clock decides about seats: as if all that it knows of them had been so much earlier. */
async function pass(seconds: number): Promise<void> {
  await replica.backend.database.query(
    `UPDATE seats SET taken_at = taken_at - make_interval(secs => $1), renewed_at = renewed_at - make_interval(secs => $1),
       expires_at = expires_at - make_interval(secs => $1)`,
    [seconds],
  );
}
const lapsed = (): Promise<void> => pass(SEAT_SECONDS);

describe('taking', () => {
  test('the token is of this user, workload and TLS session, ends with the seat, and is signed by a key that the client CA certifies', async () => {
    const connection = await openConnection(await newClient(), tpm);
    const { seat, token, expiresAt, heartbeatSeconds } = await takeSeat(replica.seats, connection);
    const { user } = connection.client;
    expect(
      await verifySeatToken(token, { rootsPem: clientCa.certificate, trustDomain: TRUST_DOMAIN, now: new Date() }),
    ).toEqual({
      seat,
      user,
      workloadUid: `workload-${user}`,
      tlsExporter: connection.tlsExporter,
      expiresAt: Number(expiresAt),
    });
    expect(Number(expiresAt) - Date.now() / 1000).toBeLessThanOrEqual(SEAT_SECONDS);
    expect(heartbeatSeconds).toBe(SEAT_SECONDS / 3);
    const another = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
    await expect(
      verifySeatToken(token, { rootsPem: another.certificate, trustDomain: TRUST_DOMAIN, now: new Date() }),
    ).toRejectWithCode('seat.token_invalid');
  });

  test('an account without a licence has its default number at once', async () => {
    const client = await newClient();
    const taken = [
      await takeSeat(replica.seats, await openConnection(client, tpm)),
      await takeSeat(replica.seats, await openConnection(client, tpm)),
    ];
    await expect(takeSeat(replica.seats, await openConnection(client, tpm))).toRejectWithCode('seat.none_free', {
      message: 'no seat is free: 2 of the 2 of your account are taken',
    });
    expect((await listed(client)).seats.sort()).toEqual(taken.map(({ seat }) => seat).sort());
    // Another one's are their own.
    await takeSeat(replica.seats, await openConnection(await newClient(), tpm));
  });

  test("a licence's seats are those of all its users together", async () => {
    const [one, two] = [await newClient(), await newClient()];
    const licence = await licensed(3, one, two);
    for (const client of [one, one, two]) await takeSeat(replica.seats, await openConnection(client, tpm));
    for (const client of [one, two])
      await expect(takeSeat(replica.seats, await openConnection(client, tpm))).toRejectWithCode('seat.none_free');
    expect(await listed(two)).toMatchObject({ taken: 3, limit: 3, seats: [expect.any(String)] });
    expect((await callUnary(replica.seats, replica.seats.listSeats, {}, bearer(one))).licence).toBe(licence);
  });

  test('the same evidence again gives the same seat, no longer than before, and no second one', async () => {
    const connection = await openConnection(await newClient(), tpm);
    const first = await takeSeat(replica.seats, connection);
    await pass(60);
    const again = await takeSeat(replica.seats, connection);
    expect({ seat: again.seat, expiresAt: again.expiresAt }).toEqual({
      seat: first.seat,
      expiresAt: first.expiresAt - 60n,
    });
    expect((await listed(connection.client)).taken).toBe(1);
    await lapsed();
    await expect(takeSeat(replica.seats, connection)).toRejectWithCode('seat.lapsed');
    await endSeat(replica.seats, first.token);
    await expect(takeSeat(replica.seats, connection)).toRejectWithCode('seat.freed');
    expect((await listed(connection.client)).taken).toBe(0);
  });
});

test('one who shows evidence without end waits for themselves, and nobody else for them', async () => {
  const [flooder, other] = [await newClient(), await newClient()];
  const [connection, others] = [await openConnection(flooder, tpm), await openConnection(other, tpm)];
  let answered = 0;
  const flood = Promise.all(
    Array.from({ length: 100 }, () => takeSeat(replica.seats, connection).then(() => (answered += 1))),
  );
  await takeSeat(replica.seats, others);
  const before = answered;
  await flood;
  expect(before).toBeLessThan(50);
});

describe('no seat for', () => {
  const refused = async (
    request: Parameters<typeof takeRequest>[0],
    code: string,
    message?: string | RegExp,
  ): Promise<void> => {
    await expect(takeSeat(replica.seats, request)).rejects.toMatchObject({
      code,
      ...(message !== undefined && { message: expect.stringMatching(message) as string }),
    });
    expect((await listed(request.client)).taken).toBe(0);
  };

  test('evidence of a certificate, which tells of no session', async () => {
    const client = await newClient();
    await refused(
      await openConnection(client, tpm, { purpose: Purpose.PURPOSE_CERTIFICATE, tlsExporter: Buffer.alloc(0) }),
      'seat.evidence_refused',
      /^its evidence is refused \(freshness\.purpose\)$/,
    );
  });

  test("somebody else's session: of another user, or of another client of the same user", async () => {
    const [client, other] = [await newClient(), await newClient()];
    const { evidence } = await openConnection(other, tpm);
    await refused({ client, evidence }, 'seat.evidence_refused', /^its evidence is refused \(identity\.client_key\)$/);
    await refused(
      await openConnection(client, tpm, { user: other.user }),
      'seat.evidence_refused',
      /^its evidence is refused \(identity\.user\)$/,
    );
    const same = await newClient(client.user);
    await refused(
      { client, evidence: (await openConnection(same, tpm)).evidence },
      'seat.evidence_refused',
      /^its evidence is refused \(identity\.client_key\)$/,
    );
  });

  test("evidence of one's own enclave that claims the TLS session of somebody else: their seat stays theirs", async () => {
    const [victim, thief] = [await newClient(), await newClient()];
    const connection = await openConnection(victim, tpm);
    const { tlsExporter } = connection;
    const { seat } = await takeSeat(replica.seats, connection);
    await refused(await openConnection(thief, tpm, { tlsExporter }), 'seat.other_session');
    await expect(
      takeSeat(replica.seats, await openConnection(victim, tpm, { tlsExporter, workloadUid: newWorkload() })),
    ).toRejectWithCode('seat.other_session');
    expect((await listed(victim)).seats).toEqual([seat]);
    await renewSeat(replica.seats, connection, seat);
  });

  test('evidence by a TPM that is not trusted, of a revoked node, or old', async () => {
    const client = await newClient();
    await refused(
      await openConnection(client, await makeFakeTpm()),
      'seat.evidence_refused',
      /^its evidence is refused \(ak_certificate\.untrusted\)$/,
    );
    const minutesAgo = BigInt(Math.floor(Date.now() / 1000) - 1000);
    await refused(
      await openConnection(client, tpm, { issuedAt: minutesAgo, expiresAt: minutesAgo + 300n }),
      'seat.evidence_refused',
      // A clock may be why, so both are told.
      /^its evidence is refused \(freshness\.expired\): expected claims good at \S+Z, got some that ended \S+Z; are the clocks of the node and of this service right\?$/,
    );
    const gone = await makeFakeTpm({ authority: tpm.authority, node: 'node-gone' });
    await revoke(replica.backend.database, { kind: 'node', subject: 'node-gone', revokedBy: 'ada', reason: 'test' });
    await refused(
      await openConnection(client, gone, { node: 'node-gone' }),
      'seat.evidence_refused',
      /^its evidence is refused \(revocation\.node\)$/,
    );
  });

  test('who has no key that the client CA certified, or does not show it', async () => {
    const client = await newClient();
    const { evidence } = await openConnection(client, tpm);
    const key = await newClientKey();
    await refused({ client: { ...client, key: key.privateKey }, evidence }, 'seat.proof');
    const foreign = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
    const clientCertificates = await issueClientCertificate(foreign, key.csr, {
      user: client.user,
      session: client.session,
      trustDomain: TRUST_DOMAIN,
      seconds: 60,
    });
    await refused(
      { client: { ...client, key: key.privateKey, clientCertificates }, evidence },
      'certificate.untrusted',
    );
    // What was signed is for these claims alone.
    const other = await openConnection(client, tpm);
    const proof = signSeatProof(client.key, other.evidence.claims);
    await expect(
      callUnary(
        replica.seats,
        replica.seats.takeSeat,
        { ...takeRequest({ client, evidence }), proof },
        { timeout: 120_000 },
      ),
    ).toRejectWithCode('seat.proof');
  });

  test('a session that was ended, a revoked user', async () => {
    const ended = await newClient();
    const connection = await openConnection(ended, tpm);
    await replica.backend.sessions.revoke(ended.user, { session: ended.session }, 'user');
    await expect(takeSeat(replica.seats, connection)).toRejectWithCode('login.session_ended');

    const revoked = await newClient();
    await revoke(replica.backend.database, { kind: 'user', subject: revoked.user, revokedBy: 'ada', reason: 'test' });
    await expect(takeSeat(replica.seats, await openConnection(revoked, tpm))).toRejectWithCode('login.revoked');
  });
});

describe('a heartbeat', () => {
  test('moves the end on; without one the seat is free again, and a late one has it back where there is room', async () => {
    const client = await newClient();
    await licensed(1, client);
    const connection = await openConnection(client, tpm);
    const { seat, expiresAt } = await takeSeat(replica.seats, connection);
    await pass(100);
    const renewed = await renewSeat(replica.seats, connection, seat);
    expect(renewed.expiresAt).toBeGreaterThanOrEqual(expiresAt);
    expect(decodeJwt(renewed.token)).toMatchObject({ jti: seat, exp: Number(renewed.expiresAt) });
    await pass(100);
    // Past the first end.
    await expect(takeSeat(replica.seats, await openConnection(client, tpm))).toRejectWithCode('seat.none_free');
    await lapsed();
    const next = await openConnection(client, tpm);
    const { seat: other, token } = await takeSeat(replica.seats, next);
    expect(other).not.toBe(seat);
    await expect(renewSeat(replica.seats, connection, seat)).toRejectWithCode('seat.none_free');
    await endSeat(replica.seats, token, closingOf(next, other));
    expect((await renewSeat(replica.seats, connection, seat)).seat).toBe(seat);
    await expect(takeSeat(replica.seats, await openConnection(client, tpm))).toRejectWithCode('seat.none_free');
  });

  test('is taken from the enclave of the seat alone, about this seat and this session, of now, and once', async () => {
    const client = await newClient();
    const [connection, second] = [await openConnection(client, tpm), await openConnection(client, tpm)];
    const { seat, expiresAt } = await takeSeat(replica.seats, connection);
    const { seat: other } = await takeSeat(replica.seats, second);
    await pass(10);
    const { privateKey } = await makeIdentity(TRUST_DOMAIN);
    await expect(renewSeat(replica.seats, connection, seat, { privateKey })).toRejectWithCode('seat.heartbeat');
    await expect(
      renewSeat(replica.seats, connection, seat, {
        privateKey: client.key.export({ type: 'pkcs8', format: 'pem' }) as string,
      }),
    ).toRejectWithCode('seat.heartbeat');
    await expect(renewSeat(replica.seats, connection, seat, { about: other })).toRejectWithCode('seat.heartbeat');
    await expect(renewSeat(replica.seats, second, seat)).toRejectWithCode('seat.heartbeat');
    await expect(renewSeat(replica.seats, connection, randomUUID())).toRejectWithCode('seat.heartbeat');
    for (const seconds of [-70, 70])
      await expect(renewSeat(replica.seats, connection, seat, { at: Date.now() + seconds * 1000 })).toRejectWithCode(
        'seat.heartbeat_old',
      );
    const { seats } = await callUnary(replica.seats, replica.seats.listSeats, {}, bearer(client));
    expect(seats.find((listedSeat) => listedSeat.seat === seat)?.expiresAt).toBe(expiresAt - 10n);

    // A client keeps one for when its session is over: it has been counted.
    const at = Date.now();
    await renewSeat(replica.seats, connection, seat, { at });
    await expect(renewSeat(replica.seats, connection, seat, { at })).toRejectWithCode('seat.heartbeat_old');
    await expect(renewSeat(replica.seats, connection, seat, { at: at - 1 })).toRejectWithCode('seat.heartbeat_old');
  });

  test('is refused once the login session has ended or the user is revoked', async () => {
    const take = async (): Promise<{ client: SeatClient; renew(): Promise<unknown> }> => {
      const client = await newClient();
      const connection = await openConnection(client, tpm);
      const { seat } = await takeSeat(replica.seats, connection);
      return { client, renew: () => renewSeat(replica.seats, connection, seat) };
    };
    const ended = await take();
    await replica.backend.sessions.revoke(ended.client.user, {}, 'user');
    await expect(ended.renew()).toRejectWithCode('login.session_ended');
    const revoked = await take();
    await revoke(replica.backend.database, {
      kind: 'user',
      subject: revoked.client.user,
      revokedBy: 'ada',
      reason: 'test',
    });
    await expect(revoked.renew()).toRejectWithCode('login.revoked');
  });

  test('goes on when the licence has expired: that keeps its user from logging in, and nothing that runs from its seat', async () => {
    const client = await newClient();
    const licence = await licensed(2, client);
    const connection = await openConnection(client, tpm);
    const { seat } = await takeSeat(replica.seats, connection);
    await replica.backend.database.query(
      `UPDATE licences SET valid_until = now() - interval '2 days', grace_until = now() - interval '1 day' WHERE id = $1`,
      [licence],
    );
    await expect(renewSeat(replica.seats, connection, seat)).resolves.toBeDefined();
    // Within the hour of its certificate, another connection too; never more than the licence had.
    await takeSeat(replica.seats, await openConnection(client, tpm));
    await expect(takeSeat(replica.seats, await openConnection(client, tpm))).toRejectWithCode('seat.none_free');
  });

  test('is refused once the licence was revoked, and nobody takes a seat by it', async () => {
    const client = await newClient();
    const licence = await licensed(2, client);
    const connection = await openConnection(client, tpm);
    const { seat } = await takeSeat(replica.seats, connection);
    await replica.backend.database.query(
      `UPDATE licences SET revoked_at = now(), revoked_by = 'ada', revoked_reason = 'x' WHERE id = $1`,
      [licence],
    );
    await expect(renewSeat(replica.seats, connection, seat)).toRejectWithCode('licence.revoked');
    await expect(takeSeat(replica.seats, await openConnection(client, tpm))).toRejectWithCode('licence.revoked');
    // Who gives it back has the account's own again.
    await replica.backend.database.query('DELETE FROM licence_redemptions WHERE user_id = $1', [client.user]);
    await renewSeat(replica.seats, connection, seat);
  });

  test('that finds no room is no audit record; a session that does is one', async () => {
    const client = await newClient();
    const licence = await licensed(1, client);
    const lost = await openConnection(client, tpm);
    const { seat } = await takeSeat(replica.seats, lost);
    await lapsed();
    await takeSeat(replica.seats, await openConnection(client, tpm));
    await expect(renewSeat(replica.seats, lost, seat)).toRejectWithCode('seat.none_free');
    await expect(takeSeat(replica.seats, await openConnection(client, tpm))).toRejectWithCode('seat.none_free');
    const rows = (await recordsOf(replica.backend.database)).filter(
      ({ kind, detail }) => kind === 'licence.refused' && detail['licence'] === licence,
    );
    expect(rows.map(({ detail }) => detail)).toEqual([{ user: client.user, licence, code: 'seat.none_free' }]);
  });

  test('evidence of one session that finds no room is refused however often it is shown, and fills no record', async () => {
    const client = await newClient();
    await licensed(1, client);
    await takeSeat(replica.seats, await openConnection(client, tpm));
    const connection = await openConnection(client, tpm);
    const { backend, seats } = replica;
    await Promise.all(
      Array.from({ length: 25 }, () => expect(takeSeat(seats, connection)).toRejectWithCode('seat.none_free')),
    );
    expect(
      (await recordsOf(backend.database)).filter(
        ({ kind, detail }) => kind === 'licence.refused' && detail['user'] === client.user,
      ),
    ).toHaveLength(20);
  });

  test('keeps a seat that is held, also when there are fewer than before; moves to a licence that was redeemed meanwhile, where that has room', async () => {
    const client = await newClient();
    const [one, two] = [await openConnection(client, tpm), await openConnection(client, tpm)];
    const [first, second] = [await takeSeat(replica.seats, one), await takeSeat(replica.seats, two)];
    const licence = await licensed(1, client);
    await renewSeat(replica.seats, one, first.seat);
    await expect(renewSeat(replica.seats, two, second.seat)).toRejectWithCode('seat.none_free');
    await replica.backend.database.query('UPDATE licences SET seats = 2 WHERE id = $1', [licence]);
    await renewSeat(replica.seats, two, second.seat);
    await replica.backend.database.query('UPDATE licences SET seats = 1 WHERE id = $1', [licence]);
    await renewSeat(replica.seats, one, first.seat);
    await renewSeat(replica.seats, two, second.seat);
    expect(await listed(client)).toMatchObject({ taken: 2, limit: 1 });
  });
});

describe('a seat is free', () => {
  test('once its enclave says that its connection is closed, and by no other word', async () => {
    const client = await newClient();
    await licensed(1, client);
    const connection = await openConnection(client, tpm);
    const { seat, token } = await takeSeat(replica.seats, connection);
    const other = await openConnection(client, tpm);
    const { privateKey } = await makeIdentity(TRUST_DOMAIN);
    for (const closing of [
      closingOf(connection, randomUUID()),
      closingOf(other, seat),
      closingOf(connection, seat, { privateKey }),
      closingOf(connection, seat, { trustDomain: 'other.test' }),
      { at: 0n, signature: Buffer.alloc(64) },
      { at: -1n, signature: Buffer.alloc(0) },
    ]) {
      await expect(endSeat(replica.seats, token, closing)).toRejectWithCode('seat.closing');
      await expect(takeSeat(replica.seats, other)).toRejectWithCode('seat.none_free');
    }
    await endSeat(replica.seats, token, closingOf(connection, seat));
    expect((await listed(client)).taken).toBe(0);
    await takeSeat(replica.seats, other);
    // A second time is no error, and frees nobody else's.
    await endSeat(replica.seats, token, closingOf(connection, seat));
    expect((await listed(client)).taken).toBe(1);
  });

  test('not before its last token has ended, where its client alone says that it is over: one licence of one does not serve two', async () => {
    const client = await newClient();
    await licensed(1, client);
    const connection = await openConnection(client, tpm);
    const { seat, token } = await takeSeat(replica.seats, connection);
    await renewSeat(replica.seats, connection, seat);
    await endSeat(replica.seats, token);
    for (const again of [connection, await openConnection(client, tpm)])
      await expect(takeSeat(replica.seats, again)).toRejectWithCode(
        again === connection ? 'seat.freed' : 'seat.none_free',
      );
    const { seats, taken } = await callUnary(replica.seats, replica.seats.listSeats, {}, bearer(client));
    expect({ taken, seats }).toMatchObject({ taken: 1, seats: [{ seat, ended: true }] });
    // Its heartbeats are over, so it counts until the end of its last token, and no longer.
    await expect(renewSeat(replica.seats, connection, seat)).toRejectWithCode('seat.freed');
    await pass(SEAT_SECONDS - 20);
    await expect(takeSeat(replica.seats, await openConnection(client, tpm))).toRejectWithCode('seat.none_free');
    await pass(21);
    await takeSeat(replica.seats, await openConnection(client, tpm));
    await expect(renewSeat(replica.seats, connection, seat)).toRejectWithCode('seat.freed');
  });

  test("by what the next client of the same user's was told by the enclave: a killed one leaves no seat behind", async () => {
    const [client, thief] = [await newClient(), await newClient()];
    await licensed(1, client);
    const killed = await openConnection(client, tpm);
    const { seat } = await takeSeat(replica.seats, killed);
    const next = await openConnection(client, tpm);
    const take = (connection: Connection, closed: ClosedSeat[]): Promise<unknown> =>
      callUnary(replica.seats, replica.seats.takeSeat, { ...takeRequest(connection), closed }, { timeout: 120_000 });
    const { privateKey } = await makeIdentity(TRUST_DOMAIN);
    for (const closed of [
      [{ seat, closing: undefined }],
      [{ seat: 'not an id', closing: closingOf(killed, seat) }],
      [{ seat, closing: closingOf(killed, seat, { privateKey }) }],
      [{ seat, closing: closingOf(next, seat) }],
    ])
      await expect(take(next, closed)).toRejectWithCode('seat.none_free');
    // Nobody else brings it.
    await take(await openConnection(thief, tpm), [{ seat, closing: closingOf(killed, seat) }]);
    expect((await listed(client)).taken).toBe(1);
    await take(next, [
      { seat: randomUUID(), closing: closingOf(killed, seat) },
      { seat, closing: closingOf(killed, seat) },
    ]);
    expect((await listed(client)).seats).not.toContain(seat);
  });

  test('by its token alone it is given up, and by no other', async () => {
    const client = await newClient();
    const { seat, token } = await takeSeat(replica.seats, await openConnection(client, tpm));
    const [header, payload, signature = ''] = token.split('.');
    const forged = `${header}.${payload}.${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`;
    await expect(endSeat(replica.seats, forged)).toRejectWithCode('seat.token_invalid');
    const { seats } = await callUnary(replica.seats, replica.seats.listSeats, {}, bearer(client));
    expect(seats).toMatchObject([{ seat, ended: false }]);
  });

  test('at the end of its last token, when its user gives it up, one or all; nobody gives up those of others; and it is not renewed any more', async () => {
    const [client, other] = [await newClient(), await newClient()];
    const [one, two] = [await openConnection(client, tpm), await openConnection(client, tpm)];
    const [first, second] = [await takeSeat(replica.seats, one), await takeSeat(replica.seats, two)];
    const { seats: service } = replica;
    for (const seats of [[first.seat], ['not an id'], [randomUUID()]]) {
      await expect(callUnary(service, service.freeSeats, { seats }, bearer(other))).toRejectWithCode('seat.not_found');
    }
    expect(await callUnary(service, service.freeSeats, { seats: [] }, bearer(other))).toEqual({ freed: 0 });
    const state = async (): Promise<unknown> =>
      Object.fromEntries(
        (await callUnary(service, service.listSeats, {}, bearer(client))).seats.map(({ seat, ended }) => [seat, ended]),
      );
    expect(await state()).toEqual({ [first.seat]: false, [second.seat]: false });
    expect(await callUnary(service, service.freeSeats, { seats: [first.seat] }, bearer(client))).toEqual({ freed: 1 });
    expect(await state()).toEqual({ [first.seat]: true, [second.seat]: false });
    await expect(renewSeat(service, one, first.seat)).toRejectWithCode('seat.freed');
    expect(await callUnary(service, service.freeSeats, { seats: [] }, bearer(client))).toEqual({ freed: 1 });
    await expect(renewSeat(service, two, second.seat)).toRejectWithCode('seat.freed');
    await expect(takeSeat(service, await openConnection(client, tpm))).toRejectWithCode('seat.none_free');
    await lapsed();
    await takeSeat(service, await openConnection(client, tpm));
    const audit = (await recordsOf(replica.backend.database)).filter(({ kind }) => kind === 'seat.freed');
    expect(audit.map(({ detail }) => detail)).toEqual([first, second].map(({ seat }) => ({ user: client.user, seat })));
  });

  test('when its pod is gone: a session in the next one of the same enclave takes its place, one in another enclave does not', async () => {
    const client = await newClient();
    await licensed(1, client);
    const dead = await openConnection(client, tpm, { workloadUid: newWorkload() });
    const { seat } = await takeSeat(replica.seats, dead);
    await expect(
      takeSeat(replica.seats, await openConnection(client, tpm, { workloadUid: newWorkload(), enclave: 'gpu-lab' })),
    ).toRejectWithCode('seat.none_free');
    const { seat: next } = await takeSeat(
      replica.seats,
      await openConnection(client, tpm, { workloadUid: newWorkload() }),
    );
    expect((await listed(client)).seats).toEqual([next]);
    // It lived after all: its heartbeat finds no room.
    await expect(renewSeat(replica.seats, dead, seat)).toRejectWithCode('seat.none_free');
  });

  test('when login itself ends the enclave', async () => {
    const client = await newClient();
    await takeSeat(replica.seats, await openConnection(client, tpm));
    await takeSeat(
      replica.seats,
      await openConnection(client, tpm, { enclave: 'gpu-lab', workloadUid: newWorkload() }),
    );
    await replica.launcher.stop({ user: client.user, name: 'gpu-lab' });
    expect((await listed(client)).taken).toBe(1);
    await replica.launcher.removeAll(client.user);
    expect((await listed(client)).taken).toBe(0);
  });

  test('when login gives an enclave up, and not where another one runs in its place by now', async () => {
    const client = await newClient();
    const lost = newWorkload();
    const [id, found] = [
      { user: client.user, name: 'default' },
      { workloadUid: lost, node: '', endpoint: '', tlsAddress: '', started: false },
    ];
    await takeSeat(replica.seats, await openConnection(client, tpm, { workloadUid: lost }));
    await replica.launcher.discard(id, found);
    expect((await listed(client)).taken).toBe(0);
    const { seat } = await takeSeat(replica.seats, await openConnection(client, tpm, { workloadUid: newWorkload() }));
    // Another login had found the first one lost, too, and was slower.
    await replica.launcher.discard(id, found);
    expect((await listed(client)).seats).toEqual([seat]);
  });

  test('when its account is deleted', async () => {
    const [client, other] = [await newClient(), await newClient()];
    await licensed(1, client, other);
    await takeSeat(replica.seats, await openConnection(client, tpm));
    await replica.backend.database.query('DELETE FROM accounts WHERE id = $1', [client.user]);
    await takeSeat(replica.seats, await openConnection(other, tpm));
  });
});

describe('a seat without heartbeat, while what was begun by it has its grace', () => {
  const GRACE_SECONDS = 900;
  let graced: Replica;
  beforeAll(async () => {
    graced = await startReplica(files, clientCa, () => Promise.reject(new Error('no enclave')), {
      seatSeconds: SEAT_SECONDS,
      seatGraceSeconds: GRACE_SECONDS,
    });
  });
  afterAll(() => graced.stop());

  const list = (client: SeatClient) => callUnary(graced.seats, graced.seats.listSeats, {}, bearer(client));
  const take = async (client: SeatClient, claims = {}): Promise<Connection & { seat: string; token: string }> => {
    const connection = await openConnection(client, tpm, claims);
    return { ...connection, ...(await takeSeat(graced.seats, connection)) };
  };

  test.each([
    ['gives it up', (token: string) => endSeat(graced.seats, token)],
    ['is killed, or sends no heartbeat', () => Promise.resolve()],
  ])(
    'counts for its user: a client that takes one, shows it, and then %s has no 25 connections of a licence of one',
    async (_name, end) => {
      const client = await newClient();
      await licensed(1, client);
      const { seat, token } = await take(client);
      await end(token);
      // A window and its grace in 24 steps, the last of which is over.
      for (let step = 1; step < 24; step += 1) {
        await expect(take(client)).toRejectWithCode('seat.none_free');
        await pass((SEAT_SECONDS + GRACE_SECONDS) / 24 - 1);
      }
      const { taken, seats } = await list(client);
      expect({ taken, seats }).toMatchObject({ taken: 1, seats: [{ seat, ended: true }] });
      expect(Number(seats[0]!.expiresAt)).toBeGreaterThan(Date.now() / 1000);
      await pass(100);
      await take(client);
      await expect(take(client)).toRejectWithCode('seat.none_free');
    },
  );

  test("doesn't count for others of the licence: nobody waits a quarter of an hour for a colleague's lost connection", async () => {
    const [client, other] = [await newClient(), await newClient()];
    await licensed(1, client, other);
    await take(client);
    await expect(take(other)).toRejectWithCode('seat.none_free');
    await lapsed();
    await expect(take(client)).toRejectWithCode('seat.none_free');
    await take(other);
  });

  test('is free once its enclave says that the connection is closed, by whoever of its user brings that', async () => {
    const client = await newClient();
    await licensed(1, client);
    const killed = await take(client);
    await lapsed();
    const next = await openConnection(client, tpm);
    const closed = [{ seat: killed.seat, closing: closingOf(killed, killed.seat) }];
    await callUnary(graced.seats, graced.seats.takeSeat, { ...takeRequest(next), closed }, { timeout: 120_000 });
    expect(await list(client)).toMatchObject({ taken: 1, seats: [{ ended: false }] });
  });

  test('is had back by its own heartbeat, and is not in its own way', async () => {
    const client = await newClient();
    await licensed(1, client);
    const connection = await take(client);
    await lapsed();
    expect((await renewSeat(graced.seats, connection, connection.seat)).seat).toBe(connection.seat);
    expect(await list(client)).toMatchObject({ taken: 1, seats: [{ ended: false }] });
  });

  test('is free when its enclave is: login ended it, found it gone, or another one runs in its place', async () => {
    const client = await newClient();
    await licensed(1, client);
    const id = { user: client.user, name: 'default' };
    await take(client);
    await graced.launcher.stop(id);
    await take(client);
    await lapsed();
    await graced.launcher.remove(id);
    await take(client);
    await lapsed();
    await graced.launcher.discard(id, {
      workloadUid: `workload-${client.user}`,
      node: '',
      endpoint: '',
      tlsAddress: '',
      started: false,
    });
    await take(client);
    await lapsed();
    await take(client, { workloadUid: newWorkload() });
    expect((await list(client)).taken).toBe(1);
  });
});
