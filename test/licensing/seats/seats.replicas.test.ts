import { setTimeout as sleep } from 'node:timers/promises';
import { createAuthority } from '../../../licensing/authority/authority';
import { callUnary } from '../../../runtime/rpc/client';
import type { RpcError } from '../../../runtime/rpc/errors';
import { openDatabase } from '../../../licensing/store/database';
import type { Database } from '../../../licensing/store/database';
import { TRUST_DOMAIN, writeAccountFiles } from '../../support/accounts';
import type { AccountFiles } from '../../support/accounts';
import { giveLicence, insertLicence } from '../../support/licences';
import { loginTpm } from '../../support/login-trust';
import { migratedDatabase, noPostgres } from '../../support/postgres';
import type { TestDatabase } from '../../support/postgres';
import { startReplica } from '../../support/replica';
import type { Replica } from '../../support/replica';
import { newSeatClient, openConnection, renewSeat, takeSeat } from '../../support/seats';
import type { Connection, SeatClient } from '../../support/seats';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';

if (noPostgres) console.warn(noPostgres);

/** Two replicas of login on one PostgreSQL server. */
(noPostgres ? describe.skip : describe)('two replicas', () => {
  let postgres: TestDatabase;
  let files: AccountFiles;
  let clientCa: CertifiedKey;
  let database: Database;
  let replicas: [Replica, Replica];
  /** With the shortest window. */
  let hasty: [Replica, Replica];
  let clients: SeatClient[];
  let licence: string;

  beforeAll(async () => {
    postgres = await migratedDatabase();
    files = await writeAccountFiles(postgres.url);
    clientCa = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
    database = openDatabase(postgres.url, { poolSize: 2 });
    const start = (seatSeconds: number): Promise<Replica> =>
      startReplica(files, clientCa, () => Promise.reject(new Error('no enclave')), { seatSeconds });
    replicas = await Promise.all([start(300), start(300)]);
    hasty = await Promise.all([start(1), start(1)]);
  });
  afterAll(async () => {
    await Promise.all([...[...replicas, ...hasty].map((replica) => replica.stop()), database.close()]);
    await files.remove();
    await postgres.stop();
  });

  beforeEach(async () => {
    clients = await Promise.all([0, 1, 2].map(() => newSeatClient(replicas[0], clientCa)));
    licence = await insertLicence(database, { plan: { seats: 3 }, accounts: 3 });
    for (const { user } of clients) await giveLicence(database, licence, user);
  });

  const services = (of = replicas) => of.map(({ seats }) => seats);
  const connections = async (count: number): Promise<Connection[]> => {
    const tpm = await loginTpm();
    return Promise.all(
      Array.from({ length: count }, (_, index) => openConnection(clients[index % clients.length]!, tpm)),
    );
  };
  const live = async (): Promise<number> => {
    const [row] = await database.query<{ live: number }>(
      'SELECT count(*)::int AS live FROM seats WHERE licence_id = $1 AND freed_at IS NULL AND expires_at > clock_timestamp()',
      [licence],
    );
    return row!.live;
  };

  test('never give more seats than there are, however many ask at once', async () => {
    for (let round = 0; round < 3; round += 1) {
      const all = await connections(60);
      const outcomes = await Promise.allSettled(
        all.map((connection, index) => takeSeat(services()[index % 2]!, connection)),
      );
      const grants = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
      const codes = new Set(
        outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [(outcome.reason as RpcError).code] : [])),
      );
      expect({ granted: new Set(grants.map(({ seat }) => seat)).size, codes: [...codes] }).toEqual({
        granted: 3,
        codes: ['seat.none_free'],
      });
      await Promise.all(
        grants.map(({ token }, index) =>
          callUnary(services()[index % 2]!, services()[index % 2]!.endSeat, { token }, { timeout: 120_000 }),
        ),
      );
      expect(await live()).toBe(0);
    }
  });

  test('give one session one seat, wherever it asks, however often at once', async () => {
    const [connection] = await connections(1);
    const grants = await Promise.all(
      Array.from({ length: 20 }, (_, index) => takeSeat(services()[index % 2]!, connection!)),
    );
    expect(new Set(grants.map(({ seat }) => seat)).size).toBe(1);
    expect(await live()).toBe(1);
  });

  test('never have more than there are while sessions come, beat, lapse, come back and go, all at the edge of the window', async () => {
    let most = 0;
    let looks = 0;
    let over = false;
    const end = Date.now() + 8_000;
    const looking = (async () => {
      while (!over) {
        most = Math.max(most, await live());
        looks += 1;
        await sleep(3);
      }
    })();
    let renewed = 0;
    let revived = 0;
    const work = async (index: number): Promise<void> => {
      while (Date.now() < end) {
        const [connection] = await connections(1);
        const grant = await takeSeat(services(hasty)[index % 2]!, connection!).catch(() => undefined);
        if (!grant) {
          await sleep(20 + Math.random() * 60);
          continue;
        }
        let until = Number(grant.expiresAt) * 1000;
        for (let beat = 0; beat < 3; beat += 1) {
          // Around the seat's end: before it as often as after.
          await sleep(Math.max(0, until - Date.now() + (Math.random() - 0.5) * 60));
          const late = Date.now() >= until;
          const again = await renewSeat(services(hasty)[(index + beat) % 2]!, connection!, grant.seat).catch(
            () => undefined,
          );
          if (!again) break;
          renewed += 1;
          if (late) revived += 1;
          until = Number(again.expiresAt) * 1000;
        }
      }
    };
    await Promise.all(Array.from({ length: 8 }, (_, index) => work(index)));
    over = true;
    await looking;
    expect(most).toBe(3);
    // It was looked at often, and both kinds of heartbeat came.
    expect(looks).toBeGreaterThan(50);
    expect(renewed).toBeGreaterThan(5);
    expect(revived).toBeGreaterThan(0);
  });
});
