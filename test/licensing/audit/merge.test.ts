import { randomInt, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { appendRecord, readAudit, recordAudit } from '../../../licensing/audit/audit';
import type { AuditLog } from '../../../licensing/audit/log';
import type { SignedHead } from '../../../licensing/audit/merge';
import { newRecord, readRecord } from '../../../attestation/transparency/record';
import type { Database } from '../../../licensing/store/database';
import { leafHash, rootFromPath } from '../../../attestation/transparency/merkle';
import { isConsistent } from '../../../attestation/transparency/proof';
import { keysByName, readTreeHead } from '../../../attestation/transparency/tree-head';
import {
  describeOnBoth,
  emptyLog,
  freezeClock,
  openTestLog,
  readWholeLog,
  unknownLeaf,
  writeRecords,
} from '../../support/audit';
import { TestClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { untilBlocking } from '../../support/postgres';
import { makeSigningKey } from '../../support/trust';

const key = makeSigningKey('log');
const idOf = (record: Buffer): string => readRecord(record).id;

describeOnBoth('the log', (store) => {
  let databases: [Database, Database];
  let logs: [AuditLog, AuditLog];

  beforeAll(() => {
    databases = [store().open(), store().open()];
  });
  beforeEach(async () => {
    await emptyLog(databases[0]);
    logs = [openTestLog(databases[0], { key }), openTestLog(databases[1], { key })];
  });
  afterEach(() => {
    jest.useRealTimers();
    logs.forEach((log) => log.close());
  });

  test('of nothing has a head, that of the empty tree', async () => {
    const head = await logs[0].head();
    expect(
      await readTreeHead(head.signed, { keyOf: keysByName([key.publicKey]), trustDomain: 'sls.test', now: new Date() }),
    ).toMatchObject({ size: 0, root: head.root });
    expect(await readWholeLog(logs[0], head)).toEqual({ wrong: [], records: [] });
    expect(await logs[0].consistency(0, 0)).toEqual([]);
    await expect(logs[0].inclusion(unknownLeaf(), 0)).toRejectWithCode('audit.not_included');
  });

  const sizeIn = async (database: Database): Promise<number> =>
    (await database.query<{ size: number }>('SELECT size::int AS size FROM audit_tree'))[0]!.size;

  test('two replicas under load: every record once, in one order, and heads that only grow', async () => {
    const [kept, dropped]: [string[], string[]] = [[], []];
    const heads: SignedHead[] = [];
    const largest = (): number => Math.max(0, ...heads.map(({ size }) => size));
    let writing = true;
    const write = async (database: Database): Promise<void> => {
      for (let nth = 0; nth < 15; nth++) {
        const record = newRecord({ kind: 'load', detail: { nth } }, new Date());
        const fails = nth % 7 === 3;
        const seen = largest();
        await database
          .transaction(async (queries) => {
            await appendRecord(queries, record);
            // Transactions end in another order than they began.
            await sleep(randomInt(8));
            if (fails) throw new Error('on purpose');
          })
          .catch(() => undefined);
        (fails ? dropped : kept).push(idOf(record));
        // However slow the merging is: there are heads of several sizes.
        if (!fails && nth % 2 === 0) await eventually(() => largest() > seen);
      }
    };
    const merge = async (log: AuditLog): Promise<void> => {
      while (writing) {
        log.nudge();
        heads.push(await (randomInt(2) === 0 ? log.update() : log.head(heads.at(-1)?.size)));
        await sleep(randomInt(5));
      }
    };
    const merging = [...logs, ...logs].map(merge);
    await Promise.all([...databases, ...databases, ...databases].map(write));
    writing = false;
    await Promise.all(merging);

    const last = await logs[1].update();
    const { wrong, records } = await readWholeLog(logs[0], last);
    expect(wrong).toEqual([]);
    expect(records.map(idOf).sort()).toEqual([...kept].sort());
    expect(dropped.length).toBeGreaterThan(0);
    const bySize = new Map<number, SignedHead>();
    for (const head of [...heads, last]) {
      const same = bySize.get(head.size);
      if (same) expect(head.root).toEqual(same.root);
      bySize.set(head.size, head);
    }
    expect(bySize.size).toBeGreaterThan(5);
    const growing = [...bySize.values()].sort((a, b) => a.size - b.size);
    for (const [at, head] of growing.entries()) {
      const next = growing[at + 1] ?? last;
      expect(isConsistent(head, next, await logs[at % 2]!.consistency(head.size, next.size))).toBe(true);
      expect(isConsistent(head, last, await logs[at % 2]!.consistency(head.size, last.size))).toBe(true);
    }
  });

  test('proofs for each record against each head, of a log that is large enough for several batches', async () => {
    const written = await writeRecords(databases[0], 1_203);
    const head = await logs[0].update();
    expect(head.size).toBe(1_203);
    const { wrong, records } = await readWholeLog(logs[1], head);
    expect(wrong).toEqual([]);
    expect(records).toEqual(written);
    for (const sequence of [0, 1, 499, 500, 501, 1_023, 1_024, 1_202]) {
      for (const size of [1, 2, 500, 777, 1_024, 1_203].filter((size) => size > sequence)) {
        const leaf = leafHash(written[sequence]!);
        const proof = await logs[1].inclusion(leaf, size);
        expect(proof.sequence).toBe(sequence);
        const root = rootFromPath(leaf, sequence, size, proof.path);
        if (size === head.size) expect(root).toEqual(head.root);
        // A head of that size was never signed, but whoever has one of the two can get from it to the other.
        expect(isConsistent({ size, root: root! }, head, await logs[0].consistency(size, head.size))).toBe(true);
      }
    }
    await expect(logs[0].inclusion(leafHash(written[500]!), 500)).toRejectWithCode('audit.not_included');
    await expect(logs[0].inclusion(unknownLeaf(), 1_203)).toRejectWithCode('audit.not_included');
    for (const size of [1_204, -1, 0.5, Number.NaN, 2 ** 60]) {
      await expect(logs[0].inclusion(leafHash(written[0]!), size)).toRejectWithCode('audit.size');
      await expect(logs[0].consistency(1, size)).toRejectWithCode('audit.size');
    }
    await expect(logs[0].consistency(6, 5)).toRejectWithCode('audit.size');
    await expect(logs[0].consistency(-1, 5)).toRejectWithCode('audit.size');
  });

  test('a record that is there and not in the tree yet has no proof, until the next head', async () => {
    await logs[0].update();
    const [record] = (await writeRecords(databases[0], 1)) as [Buffer];
    await expect(logs[0].inclusion(leafHash(record), 0)).toRejectWithCode('audit.not_included');
    expect(await readAudit(databases[0], { limit: 10 })).toEqual([]);
    expect((await logs[0].update()).size).toBe(1);
    expect(await logs[0].inclusion(leafHash(record), 1)).toEqual({ sequence: 0, path: [] });
    expect(await readAudit(databases[1], { limit: 10 })).toEqual([{ sequence: 0, ...readRecord(record) }]);
  });

  test('a backlog of more than one call takes is worked off without another one', async () => {
    await writeRecords(databases[0], 10_020);
    expect((await logs[0].update()).size).toBe(10_000);
    await eventually(async () => (await sizeIn(databases[1])) === 10_020);
    const head = await logs[1].update();
    expect((await readWholeLog(logs[0], head)).wrong).toEqual([]);
  });

  test('a record that is written twice is in the log once', async () => {
    const record = newRecord({ kind: 'twice', detail: {} }, new Date());
    await Promise.all([...databases, ...databases].map((database) => appendRecord(database, record)));
    expect((await logs[0].update()).size).toBe(1);
  });

  test('a decision whose transaction fails leaves no record, and no gap', async () => {
    await recordAudit(databases[0], { kind: 'kept', detail: {} });
    const failed = databases[0].transaction(async (queries) => {
      await recordAudit(queries, { kind: 'failed', detail: {} });
      throw new Error('on purpose');
    });
    await expect(failed).rejects.toThrow('on purpose');
    await recordAudit(databases[0], { kind: 'kept', detail: {} });
    expect((await logs[0].update()).size).toBe(2);
    expect((await readAudit(databases[0], { limit: 10 })).map(({ sequence, kind }) => [sequence, kind])).toEqual([
      [0, 'kept'],
      [1, 'kept'],
    ]);
  });

  test('a nudge brings a record into the tree a second later, also where both replicas are nudged at once', async () => {
    const clock = new TestClock();
    const nudged = databases.map((database) => openTestLog(database, { key, clock }));
    // Each has made a head just now: the next is a second away.
    for (const log of nudged) await log.update();
    await writeRecords(databases[0], 1);
    for (const log of nudged) log.nudge();
    await writeRecords(databases[1], 1);
    for (const log of nudged) log.nudge();
    expect(clock.waits).toEqual([1_000, 1_000]);
    await clock.advance(1_000);
    await eventually(async () => (await sizeIn(databases[0])) === 2);
    nudged.forEach((log) => log.close());
  });

  test('the head of a log that rests is signed again each minute, and no more often', async () => {
    const began = new Date();
    freezeClock(began);
    await writeRecords(databases[0], 3);
    const head = await logs[0].update();
    jest.setSystemTime(began.getTime() + 59_000);
    expect(await logs[0].update()).toMatchObject({ signed: head.signed });
    expect(await logs[1].update()).toMatchObject({ signed: head.signed });
    jest.setSystemTime(began.getTime() + 61_000);
    const renewed = await logs[1].head();
    expect(renewed).toMatchObject({ size: 3, root: head.root });
    expect(renewed.signed).not.toBe(head.signed);
    await readTreeHead(renewed.signed, {
      keyOf: keysByName([key.publicKey]),
      trustDomain: 'sls.test',
      now: new Date(began.getTime() + 61_000 + 299_000),
    });
  });

  test('whoever asks for a head of a size that nobody has signed gets the one that there is, and makes nobody work', async () => {
    freezeClock();
    await writeRecords(databases[0], 1);
    const head = await logs[0].head();
    await writeRecords(databases[0], 1);
    // Whoever merged would have found the other record.
    const asked = await Promise.all(Array.from({ length: 20 }, (_, at) => logs[0].head(at === 0 ? 0 : 2 ** (30 + at))));
    expect(new Set(asked.map(({ signed }) => signed))).toEqual(new Set([head.signed]));
    const other = await logs[1].update();
    expect(other.size).toBe(2);
    expect((await logs[0].head()).size).toBe(1);
    expect((await logs[0].head(2)).size).toBe(2);
  });

  test('a crowd that asks while no head can be made waits together, on one connection', async () => {
    if (store().embedded) return;
    const database = store().open();
    const clock = new TestClock();
    const log = openTestLog(database, { key, clock });
    await log.head();
    await clock.advance(1_000);
    const asking: Array<Promise<SignedHead>> = [];
    await databases[1].transaction(async (queries) => {
      await queries.query('SELECT size FROM audit_tree FOR UPDATE');
      asking.push(log.head());
      await untilBlocking(queries, asking[0]!);
      for (let nth = 1; nth < 20; nth++) {
        await clock.advance(100);
        asking.push(log.head());
      }
      // Whoever did not wait with the first would have a connection by then.
      await database.query('SELECT 1');
      expect(database.use().connections - database.use().idle).toBe(1);
    });
    expect(new Set((await Promise.all(asking)).map(({ signed }) => signed)).size).toBe(1);
    log.close();
  });

  test.each([
    ['a record', `UPDATE audit SET record = 'x' WHERE sequence = 0`],
    ['its hash', `UPDATE audit SET leaf_sha256 = sha256('x') WHERE sequence = 0`],
    ['its place', 'UPDATE audit SET sequence = 7 WHERE sequence = 0'],
    ['its place, taken away', 'UPDATE audit SET sequence = NULL WHERE sequence = 0'],
    ['a record that waits for its place', `UPDATE audit SET record = 'x' WHERE sequence IS NULL`],
    ['the hash of one that waits', `UPDATE audit SET leaf_sha256 = sha256('x') WHERE sequence IS NULL`],
    ['all records', 'DELETE FROM audit'],
    ['a record that waits, removed', 'DELETE FROM audit WHERE sequence IS NULL'],
    ['the table, emptied', 'TRUNCATE audit'],
    ['a place that is chosen', `INSERT INTO audit (record, leaf_sha256, sequence) VALUES ('x', sha256('\\x0078'), 2)`],
    ['a hash of something else', `INSERT INTO audit (record, leaf_sha256) VALUES ('x', sha256('y'))`],
    ['a subtree', `UPDATE audit_nodes SET sha256 = sha256('x')`],
    ['subtrees, removed', 'DELETE FROM audit_nodes'],
    ['subtrees, emptied', 'TRUNCATE audit_nodes'],
    ['the tree, removed', 'DELETE FROM audit_tree'],
    ['the tree, emptied', 'TRUNCATE audit_tree'],
    ['the tree, made smaller', `UPDATE audit_tree SET size = 0, frontier = '', head = NULL`],
    ['a second tree', `INSERT INTO audit_tree (id, size, frontier) VALUES (false, 0, '')`],
  ])('statements of the services can not change %s', async (_name, statement) => {
    await writeRecords(databases[0], 2);
    const head = await logs[0].update();
    await writeRecords(databases[0], 1);
    await expect(databases[0].query(statement)).rejects.toMatchObject({
      code: expect.stringMatching(/^23(001|514)$/) as string,
    });
    const later = await logs[1].update();
    expect((await readWholeLog(logs[1], later)).wrong).toEqual([]);
    expect(isConsistent(head, later, await logs[1].consistency(2, 3))).toBe(true);
  });

  test('a record is what was written, byte for byte, whatever is in it', async () => {
    const detail = { text: '\u0000\ud83d\ude00"\\ \u2028é', nested: { list: [1, null, true] }, id: randomUUID() };
    const record = newRecord({ kind: 'bytes', detail }, new Date());
    await appendRecord(databases[0], record);
    const head = await logs[0].update();
    expect((await readWholeLog(logs[1], head)).records).toEqual([record]);
    expect((await readAudit(databases[0], { limit: 1 }))[0]).toMatchObject({ kind: 'bytes', detail });
  });
});
