import { randomUUID } from 'node:crypto';
import { recordAudit } from '../../../licensing/audit/audit';
import type { Database } from '../../../licensing/store/database';
import { describeOnBoth, emptyLog, openTestLog, recordsOf } from '../../support/audit';

const BURST = 60;

describeOnBoth('what a user can do without end', (store) => {
  let database: Database;
  beforeAll(() => void (database = store().open()));
  beforeEach(() => emptyLog(database));

  const revoke = async (user: string, times: number, kind = 'session.revoked'): Promise<void> => {
    for (let i = 0; i < times; i++)
      await database.transaction((queries) => recordAudit(queries, { kind, detail: { user, session: randomUUID() } }));
  };
  const count = async (user: string, kind: string): Promise<number> =>
    (await recordsOf(database)).filter((record) => record.kind === kind && record.detail['user'] === user).length;

  test('is recorded so many times of a kind, and one record says how many were left out', async () => {
    const [mallory, alice] = [randomUUID(), randomUUID()];
    await revoke(mallory, BURST + 12);
    await revoke(mallory, 3, 'account.password_changed');
    await revoke(alice, 3);
    expect(await count(mallory, 'session.revoked')).toBe(BURST);
    expect(await count(mallory, 'account.password_changed')).toBe(3);
    expect(await count(alice, 'session.revoked')).toBe(3);
    await database.query(`UPDATE audit_refusals SET minute = minute - interval '1 minute'`);
    await openTestLog(database).update();
    const left = (await recordsOf(database)).filter(({ kind }) => kind === 'left_out');
    expect(left.reduce((sum, { detail }) => sum + Number(detail['count']), 0)).toBe(12);
    // Two, where a minute went over in between.
    expect(left.length).toBeLessThanOrEqual(2);
    for (const { detail } of left) expect(detail).toMatchObject({ kind: 'session.revoked', user: mallory });
  });

  test('leaves out nothing that others do, or that has no user', async () => {
    const user = randomUUID();
    await revoke(user, BURST + 5, 'admin.revoke');
    expect(await count(user, 'admin.revoke')).toBe(BURST + 5);
  });

  test('is not counted where its transaction leaves nothing behind', async () => {
    const user = randomUUID();
    await revoke(user, BURST);
    const undone = database.transaction(async (queries) => {
      await recordAudit(queries, { kind: 'session.revoked', detail: { user } });
      throw new Error('on purpose');
    });
    await expect(undone).rejects.toThrow('on purpose');
    expect(await database.query('SELECT 1 FROM audit_refusals WHERE user_id = $1', [user])).toEqual([]);
  });
});
