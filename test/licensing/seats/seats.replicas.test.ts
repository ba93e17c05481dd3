import { createAuthority } from '../../../licensing/authority/authority';
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
import { closingOf, endSeat, newSeatClient, openConnection, renewSeat, takeSeat } from '../../support/seats';
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
  });
  afterAll(async () => {
    await Promise.all([...replicas.map((replica) => replica.stop()), database.close()]);
    await files.remove();
    await postgres.stop();
  });

  beforeEach(async () => {
    clients = await Promise.all([0, 1, 2].map(() => newSeatClient(replicas[0], clientCa)));
    licence = await insertLicence(database, { plan: { seats: 3 }, accounts: 3 });
    for (const { user } of clients) await giveLicence(database, licence, user);
  });

  const services = () => replicas.map(({ seats }) => seats);
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
        outcomes.flatMap((outcome, index) =>
          outcome.status === 'fulfilled'
            ? [endSeat(services()[index % 2]!, outcome.value.token, closingOf(all[index]!, outcome.value.seat))]
            : [],
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
    let [renewed, revived] = [0, 0];
    const isEnough = (): boolean => most >= 3 && looks > 50 && renewed > 30 && revived > 10;
    const looking = (async () => {
      for (; !isEnough(); looks += 1) most = Math.max(most, await live());
    })();
    /** Moves the seat's end to where the heartbeat that comes next is: before it as often as after. */
    const atTheEdge = async (seat: string): Promise<void> => {
      await database.query(
        `UPDATE seats SET expires_at = clock_timestamp() + make_interval(secs => $2) WHERE id = $1 AND freed_at IS NULL`,
        [seat, (Math.random() - 0.5) / 50],
      );
    };
    const work = async (index: number): Promise<void> => {
      while (!isEnough()) {
        const [connection] = await connections(1);
        const grant = await takeSeat(services()[index % 2]!, connection!).catch(() => undefined);
        if (!grant) continue;
        for (let beat = 0; beat < 3; beat += 1) {
          await atTheEdge(grant.seat);
          const [row] = await database.query<{ late: boolean }>(
            'SELECT expires_at <= clock_timestamp() AS late FROM seats WHERE id = $1',
            [grant.seat],
          );
          const again = await renewSeat(services()[(index + beat) % 2]!, connection!, grant.seat).catch(
            () => undefined,
          );
          if (!again) break;
          renewed += 1;
          if (row!.late) revived += 1;
        }
        // Without another heartbeat it has lapsed, and makes room.
        await database.query('UPDATE seats SET expires_at = clock_timestamp() WHERE id = $1', [grant.seat]);
      }
    };
    await Promise.all(Array.from({ length: 8 }, (_, index) => work(index)));
    await looking;
    expect(most).toBe(3);
  });
});
