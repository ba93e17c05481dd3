import { status } from '@grpc/grpc-js';
import { createAuthority } from '../../../licensing/authority/authority';
import { SeatWatch } from '../../../licensing/seats/watch';
import { systemClock } from '../../../runtime/clock';
import { RpcError } from '../../../runtime/rpc/errors';
import { TRUST_DOMAIN, writeAccountFiles } from '../../support/accounts';
import type { AccountFiles } from '../../support/accounts';
import type { FakeTpm } from '../../support/evidence';
import { testDatabase } from '../../support/postgres';
import { startReplica } from '../../support/replica';
import type { Replica } from '../../support/replica';
import { loginTpm } from '../../support/login-trust';
import { newSeatClient, openConnection, takeSeat } from '../../support/seats';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';

const WINDOW = 180;
const OUTAGE = 3600;

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
  replica = await startReplica(files, clientCa, () => Promise.reject(new Error('no enclave')), { seatSeconds: WINDOW });
});
afterAll(async () => {
  await replica.stop();
  await files.remove();
  await database.stop();
});

/** The watch of a service that may lose the database, and time as it sees it. */
class Service {
  away = false;
  ahead = 0;
  readonly watch: SeatWatch;

  constructor(outageSeconds = OUTAGE) {
    const clock = { ...systemClock, monotonic: () => systemClock.monotonic() + this.ahead * 1000 };
    const { transaction } = replica.backend.database;
    this.watch = new SeatWatch(
      {
        transaction: (work) =>
          this.away ? Promise.reject(new RpcError('store.unavailable', status.UNAVAILABLE, 'away')) : transaction(work),
      },
      { windowSeconds: WINDOW, outageSeconds, clock },
    );
  }

  /** Marks, or fails to. */
  async look(): Promise<void> {
    await this.watch.mark().catch(() => undefined);
  }

  /** Loses the database, for so long by its own clock. */
  async lose(seconds = 60): Promise<void> {
    this.away = true;
    await this.look();
    this.ahead += seconds;
  }

  async find(): Promise<void> {
    this.away = false;
    await this.watch.mark();
  }
}

/** The database's clock decides: as if all of that were so much longer ago. */
async function pass(seconds: number): Promise<void> {
  for (const sql of [
    'UPDATE seats SET expires_at = expires_at - make_interval(secs => $1)',
    `UPDATE seat_watch SET at = at - make_interval(secs => $1), gap_from = gap_from - make_interval(secs => $1),
       gap_until = gap_until - make_interval(secs => $1)`,
  ])
    await replica.backend.database.query(sql, [seconds]);
}

async function newSeat(): Promise<string> {
  return (await takeSeat(replica.seats, await openConnection(await newSeatClient(replica, clientCa), tpm))).seat;
}

/** Seconds until the seat is free, rounded. */
async function left(seat: string): Promise<number> {
  const [row] = await replica.backend.database.query<{ seconds: number }>(
    'SELECT extract(epoch FROM expires_at - clock_timestamp())::float8 AS seconds FROM seats WHERE id = $1',
    [seat],
  );
  return row!.seconds;
}
/** Whole seconds in the row, and a test may take some. */
const about = (seconds: number) => ({ from: seconds - 20, to: seconds + 1 });
async function expectLeft(seat: string, seconds: number): Promise<void> {
  const { from, to } = about(seconds);
  const got = await left(seat);
  expect(got).toBeGreaterThan(from);
  expect(got).toBeLessThan(to);
}

describe('when the database is back', () => {
  test('what counted when it went counts as long as any token that was signed meanwhile; what had lapsed or was freed does not', async () => {
    const service = new Service();
    await service.look();
    const [held, ended, freed, lapsed] = [await newSeat(), await newSeat(), await newSeat(), await newSeat()];
    const { query } = replica.backend.database;
    await query('UPDATE seats SET ended_at = now() WHERE id = $1', [ended]);
    await query('UPDATE seats SET freed_at = now() WHERE id = $1', [freed]);
    await query("UPDATE seats SET expires_at = now() - interval '1 second' WHERE id = $1", [lapsed]);
    await service.look();
    await service.lose();
    await pass(1000);
    await service.find();
    for (const seat of [held, ended]) await expectLeft(seat, WINDOW);
    for (const seat of [freed, lapsed]) expect(await left(seat)).toBeLessThan(-800);
  });

  test('no seat outlives an outage by more than the operator allows', async () => {
    const [service, off] = [new Service(), new Service(0)];
    const seat = await newSeat();
    await service.look();
    await service.lose();
    await pass(WINDOW + OUTAGE + 10);
    await service.find();
    expect(await left(seat)).toBeLessThan(0);

    const another = await newSeat();
    await off.look();
    await off.lose();
    await pass(1000);
    await off.find();
    expect(await left(another)).toBeLessThan(-800);
  });

  test('a service that was cut off by itself lets nothing stay: the others answered', async () => {
    const [cutOff, other] = [new Service(), new Service()];
    await cutOff.look();
    const seat = await newSeat();
    await cutOff.lose();
    await pass(1000);
    // As it did every few seconds.
    await replica.backend.database.query('UPDATE seat_watch SET at = clock_timestamp()');
    await other.look();
    await cutOff.find();
    expect(await left(seat)).toBeLessThan(-800);
  });

  test('services that were not there at all have seen no outage', async () => {
    const seat = await newSeat();
    await new Service().look();
    await pass(1000);
    await new Service().look();
    expect(await left(seat)).toBeLessThan(-800);
  });

  test('one that has just started may come first: who saw the outage says so after it, once', async () => {
    const [first, second] = [new Service(), new Service()];
    for (const service of [first, second]) await service.look();
    const seat = await newSeat();
    for (const service of [first, second]) await service.lose();
    await pass(1000);
    await new Service().look();
    expect(await left(seat)).toBeLessThan(-800);
    await first.find();
    await expectLeft(seat, WINDOW);
    await pass(10);
    await second.find();
    expect(await left(seat)).toBeLessThan(WINDOW - 9);
  });

  test('no seat is taken before', async () => {
    const service = new Service();
    await service.look();
    await service.lose();
    await expect(service.watch.settle()).toRejectWithCode('store.unavailable');
    const seat = await newSeat();
    await pass(1000);
    await replica.backend.database.query("UPDATE seats SET expires_at = now() - interval '900 seconds' WHERE id = $1", [
      seat,
    ]);
    service.away = false;
    await service.watch.settle();
    await expectLeft(seat, WINDOW);
  });
});

describe('while it is away', () => {
  const claimsOf = (expiresAt: number) => ({
    seat: 's',
    user: 'u',
    workloadUid: 'w',
    tlsExporter: Buffer.alloc(32),
    expiresAt,
  });
  const now = (): number => Math.floor(Date.now() / 1000);

  test("a seat that counted when it went stays by the service's own word", async () => {
    const service = new Service();
    await service.look();
    const granted = now() + 100;
    expect(service.watch.stay(claimsOf(granted))).toBeUndefined();
    await service.lose(5);
    expect([service.watch.isOut, service.watch.stay(claimsOf(granted))]).toEqual([false, undefined]);
    await service.lose(20);
    expect(service.watch.isOut).toBe(true);
    const stays = service.watch.stay(claimsOf(granted))!;
    expect(stays).toMatchObject({ seat: 's', grantedUntil: granted });
    expect(Math.abs(stays.expiresAt - now() - WINDOW)).toBeLessThan(10);
    // The next one goes by the first one's end.
    expect(service.watch.stay(stays)).toMatchObject({ grantedUntil: granted });
    await service.find();
    expect(service.watch.stay(claimsOf(granted))).toBeUndefined();
  });

  test('not one that had lapsed before, nor for longer than the operator allows', async () => {
    const service = new Service(100);
    await service.look();
    await service.lose();
    expect(service.watch.stay(claimsOf(now() - 10))).toBeUndefined();
    const granted = now() + 20;
    expect(service.watch.stay(claimsOf(granted))).toMatchObject({ expiresAt: granted + 100 });
    // By what the database granted, not by what was signed since.
    expect(service.watch.stay({ ...claimsOf(now() + 50), grantedUntil: now() - 10 })).toBeUndefined();
    expect(new Service(0).watch.stay(claimsOf(granted))).toBeUndefined();
  });

  test('not by a service that has not reached it since it started', async () => {
    const service = new Service();
    await service.lose();
    expect(service.watch.stay(claimsOf(now() + 100))).toBeUndefined();
  });
});
