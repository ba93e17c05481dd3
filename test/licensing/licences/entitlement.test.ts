import { Accounts } from '../../../licensing/accounts/accounts';
import { entitlementOf, lastingEntitlementOf } from '../../../licensing/licences/entitlement';
import { openDatabase } from '../../../licensing/store/database';
import type { Database } from '../../../licensing/store/database';
import { testDatabase } from '../../support/postgres';
import { giveLicence, insertLicence } from '../../support/licences';
import type { LicenceChoices } from '../../support/licences';

let postgres: { url: string; stop(): Promise<void> };
let database: Database;
let count = 0;

beforeAll(async () => {
  postgres = await testDatabase();
  database = openDatabase(postgres.url, { poolSize: 4 });
});
afterAll(async () => {
  await database.close();
  await postgres.stop();
});

async function user(...licences: LicenceChoices[]): Promise<{ id: string; licences: string[] }> {
  const id = (await new Accounts(database).create(`user${(count += 1)}`, 'x'))!;
  const ids: string[] = [];
  for (const choices of licences) {
    const licence = await insertLicence(database, choices);
    await giveLicence(database, licence, id);
    ids.push(licence);
  }
  return { id, licences: ids };
}

const at = (seconds: number): Date => new Date(Date.now() + seconds * 1000);

test('who has no licence is entitled to nothing by one', async () => {
  expect(await entitlementOf(database, (await user()).id, new Date())).toBeUndefined();
});

test('a licence entitles its user to what its plan says', async () => {
  const images = [`sha256:${'a'.repeat(64)}`];
  const { id, licences } = await user({
    plan: { name: 'lab', images, enclaves: 4, seats: 9, cpu: '500m', memory: '2Gi' },
    graceSeconds: 60,
  });
  const entitlement = await entitlementOf(database, id, new Date());
  expect(entitlement).toEqual({
    licence: licences[0],
    plan: 'lab',
    images,
    enclaves: 4,
    seats: 9,
    cpu: '500m',
    memory: '2Gi',
    until: expect.any(Date),
    graceUntil: expect.any(Date),
  });
  expect(entitlement!.graceUntil.getTime() - entitlement!.until.getTime()).toBe(60_000);
});

test('what a plan leaves out is left to the operator', async () => {
  const entitlement = await entitlementOf(database, (await user({})).id, new Date());
  expect(Object.keys(entitlement!).sort()).toEqual(['enclaves', 'graceUntil', 'licence', 'plan', 'seats', 'until']);
});

test('it entitles through its grace days, and no longer', async () => {
  const { id } = await user({ untilSeconds: 100, graceSeconds: 100 });
  expect(await entitlementOf(database, id, at(99))).toBeDefined();
  expect(await entitlementOf(database, id, at(150))).toBeDefined();
  expect(await entitlementOf(database, id, at(201))).toBeUndefined();
});

test('a revoked one entitles to nothing', async () => {
  const { id, licences } = await user({});
  await database.query(
    `UPDATE licences SET revoked_at = now(), revoked_by = 'ada', revoked_reason = 'x' WHERE id = $1`,
    [licences[0]!],
  );
  expect(await entitlementOf(database, id, new Date())).toBeUndefined();
});

test('of several the one that was redeemed last applies, but one in its grace days or over only when no better one is there', async () => {
  const two = await user({}, {});
  expect((await entitlementOf(database, two.id, new Date()))?.licence).toBe(two.licences[1]);
  const later = await user({}, { untilSeconds: -10, graceSeconds: 100 }, { untilSeconds: -10 });
  expect((await entitlementOf(database, later.id, new Date()))?.licence).toBe(later.licences[0]);
  expect(
    (
      await entitlementOf(
        database,
        (await user({ untilSeconds: -10, graceSeconds: 100 }, { untilSeconds: -10 })).id,
        new Date(),
      )
    )?.plan,
  ).toBe('team');
});

test('what a session that runs counts among is known, also when the licence is over or revoked', async () => {
  expect(await lastingEntitlementOf(database, (await user()).id, new Date())).toBeUndefined();
  const { id, licences } = await user({ plan: { seats: 7 }, untilSeconds: -10 });
  const lasting = { licence: licences[0], seats: 7 };
  expect(await lastingEntitlementOf(database, id, new Date())).toMatchObject({ ...lasting, state: 'expired' });
  await database.query(
    `UPDATE licences SET revoked_at = now(), revoked_by = 'ada', revoked_reason = 'x' WHERE id = $1`,
    [licences[0]!],
  );
  expect(await lastingEntitlementOf(database, id, new Date())).toMatchObject({ ...lasting, state: 'revoked' });
  // As at a login, another one that is in force comes first.
  expect(
    await lastingEntitlementOf(database, (await user({}, { untilSeconds: -10, plan: { seats: 7 } })).id, new Date()),
  ).toMatchObject({ seats: 3 });
});
