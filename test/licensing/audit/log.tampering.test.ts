import { createHash } from 'node:crypto';
import { importJWK } from 'jose';
import type { CryptoKey } from 'jose';
import { AuditLog } from '../../../licensing/audit/log';
import { readLogKeys } from '../../../licensing/audit/keys';
import type { SignedHead } from '../../../licensing/audit/merge';
import { newRecord } from '../../../attestation/transparency/record';
import type { Database } from '../../../licensing/store/database';
import { Frontier } from '../../../attestation/transparency/frontier';
import { leafHash, rootFromPath } from '../../../attestation/transparency/merkle';
import { isConsistent } from '../../../attestation/transparency/proof';
import { signTreeHead } from '../../../attestation/transparency/tree-head';
import { asOwner, describeOnBoth, emptyLog, openTestLog, readWholeLog, writeRecords } from '../../support/audit';
import { makeSigningKey } from '../../support/trust';
import type { TestSigningKey } from '../../support/trust';

const key = makeSigningKey('log');
const stranger = makeSigningKey('stranger');
const SIZE = 13;

async function sign(
  head: { size: number; root: Buffer },
  { privateKey }: TestSigningKey,
  trustDomain = 'sls.test',
): Promise<string> {
  return signTreeHead(
    { ...head, at: new Date() },
    { kid: privateKey.kid, key: (await importJWK(privateKey, 'ES256')) as CryptoKey },
    trustDomain,
  );
}

const bytea = (bytes: Buffer): string => `'\\x${bytes.toString('hex')}'::bytea`;

describeOnBoth('the owner of the database, who can do anything there but sign', (store) => {
  let database: Database;
  let log: AuditLog;
  let records: Buffer[];
  let head: SignedHead;

  beforeAll(() => void (database = store().open()));
  beforeEach(async () => {
    await emptyLog(database);
    log = openTestLog(database, { key });
    records = await writeRecords(database, SIZE);
    head = await log.update();
  });
  afterEach(() => log.close());

  /** The tree over other records, with everything that goes with it except for the signature. */
  const rewrite = async (others: readonly Buffer[]): Promise<Frontier> => {
    const frontier = new Frontier();
    const statements = ['DELETE FROM audit', 'DELETE FROM audit_nodes'];
    others.forEach((record, sequence) => {
      statements.push(
        `INSERT INTO audit (record, leaf_sha256, sequence) VALUES (${bytea(record)}, ${bytea(leafHash(record))}, ${sequence})`,
      );
      for (const { level, position, hash } of frontier.append(leafHash(record)))
        statements.push(`INSERT INTO audit_nodes VALUES (${level}, ${position}, ${bytea(hash)})`);
    });
    statements.push(`UPDATE audit_tree SET size = ${others.length}, frontier = ${bytea(Buffer.concat(frontier.edge))}`);
    await asOwner(database, statements.join(';'));
    return frontier;
  };
  const refusesToSign = async (code = 'audit.tree_damaged'): Promise<void> => {
    await expect(log.update()).rejects.toMatchObject({ code });
    // Also with new records, from another replica, and for whoever asks again.
    await writeRecords(database, 2);
    const other = openTestLog(database, { key });
    await expect(other.update()).rejects.toMatchObject({ code });
    await expect(other.head()).rejects.toMatchObject({ code });
    await expect(log.update()).rejects.toMatchObject({ code });
  };
  const replaced = (at: number): Buffer[] =>
    records.map((record, nth) =>
      nth === at ? newRecord({ kind: 'nothing.happened', detail: {} }, new Date()) : record,
    );

  test.each([
    ['an older size', 'UPDATE audit_tree SET size = 12'],
    ['an edge that is another', `UPDATE audit_tree SET frontier = frontier || frontier, size = 63`],
    ['an edge of one hash that is another', `UPDATE audit_tree SET frontier = sha256('x') || substr(frontier, 33)`],
    ['an empty tree under a log that is there', `UPDATE audit_tree SET size = 0, frontier = ''`],
    ['an edge that is no hashes', `UPDATE audit_tree SET frontier = 'abc'`],
    ['no head', 'UPDATE audit_tree SET head = NULL'],
    ['an empty head', `UPDATE audit_tree SET head = ''`],
    ['a head that is none', `UPDATE audit_tree SET head = 'a.b.c'`],
    ['the signature of a head changed', `UPDATE audit_tree SET head = left(head, -8) || 'AAAAAAAA'`],
    ['no tree at all', 'DELETE FROM audit_tree'],
    ['a place that is taken before its time', `UPDATE audit SET sequence = 14 WHERE sequence = 3`],
    ['a hash that stands where one will come', `INSERT INTO audit_nodes VALUES (1, 6, sha256('x'))`],
  ])('%s: nothing is signed any more', async (_name, statements) => {
    await asOwner(database, statements);
    // The last two show when the log comes to that place.
    if (
      !(await log.update().then(
        () => true,
        () => false,
      ))
    )
      return refusesToSign();
    await writeRecords(database, 2);
    return refusesToSign();
  });

  test('a tree over other records is not signed: its head is missing', async () => {
    await rewrite(replaced(5));
    await refusesToSign();
  });

  test('nor is one whose head is signed by a key of their own, under whatever name', async () => {
    const { size } = head;
    const root = (await rewrite(replaced(5))).root();
    const setHead = async (signed: string): Promise<void> =>
      asOwner(database, `UPDATE audit_tree SET head = '${signed}'`);
    await setHead(await sign({ size, root }, stranger));
    await refusesToSign('audit.key_unknown');
    await setHead(await sign({ size, root }, makeSigningKey('log')));
    await refusesToSign();
  });

  test('nor is the tree of another installation, signed by the same key', async () => {
    await asOwner(database, `UPDATE audit_tree SET head = '${await sign(head, key, 'other.test')}'`);
    await refusesToSign();
  });

  test('nothing else is hurt: records are written, and signed once the tree is as it was', async () => {
    const [before] = await database.query<{ frontier: Buffer }>('SELECT frontier FROM audit_tree');
    await asOwner(database, `UPDATE audit_tree SET frontier = sha256('x') || substr(frontier, 33)`);
    await refusesToSign();
    await asOwner(database, `UPDATE audit_tree SET frontier = ${bytea(before!.frontier)}`);
    const later = await log.update();
    expect(later.size).toBe(SIZE + 2);
    expect((await readWholeLog(log, later)).wrong).toEqual([]);
  });

  test('an old state of everything, head included, is signed on; whoever remembers a later head sees it', async () => {
    const [old] = await database.query<{ frontier: Buffer; head: string }>('SELECT frontier, head FROM audit_tree');
    await writeRecords(database, 5);
    const remembered = await log.update();
    await asOwner(
      database,
      `DELETE FROM audit WHERE sequence >= ${SIZE}; DELETE FROM audit_nodes WHERE (position + 1) * (1 << level) > ${SIZE};
      UPDATE audit_tree SET size = ${SIZE}, frontier = ${bytea(old!.frontier)}, head = '${old!.head}'`,
    );
    const back = await log.update();
    expect(back.size).toBeLessThan(remembered.size);
    await expect(log.consistency(remembered.size, back.size)).toRejectWithCode('audit.size');
    await writeRecords(database, 5);
    const forked = await log.update();
    expect(forked.size).toBe(remembered.size);
    expect(isConsistent(remembered, forked, await log.consistency(remembered.size, forked.size))).toBe(false);
    await writeRecords(database, 9);
    const later = await log.update();
    expect(isConsistent(remembered, later, await log.consistency(remembered.size, later.size))).toBe(false);
    expect(isConsistent(head, later, await log.consistency(head.size, later.size))).toBe(true);
  });

  describe('and what they change of the records', () => {
    const leadsToHead = async (record: Buffer): Promise<boolean> => {
      const leaf = leafHash(record);
      const { sequence, path } = await log.inclusion(leaf, head.size);
      return rootFromPath(leaf, sequence, head.size, path)?.equals(head.root) === true;
    };

    test('a record replaced: it has no proof any more, nor has its successor a good one, and readers see which it is', async () => {
      const other = newRecord({ kind: 'nothing.happened', detail: {} }, new Date());
      await asOwner(
        database,
        `UPDATE audit SET record = ${bytea(other)}, leaf_sha256 = ${bytea(leafHash(other))} WHERE sequence = 6`,
      );
      await expect(log.inclusion(leafHash(records[6]!), head.size)).toRejectWithCode('audit.not_included');
      expect(await leadsToHead(other)).toBe(false);
      expect(await leadsToHead(records[7]!)).toBe(false);
      expect(await leadsToHead(records[3]!)).toBe(true);
      expect((await readWholeLog(log, head)).wrong).toEqual(
        expect.arrayContaining([
          expect.stringMatching(/^record 7 completes another/),
          'the records are not those of the head',
        ]),
      );
    });

    test("a record's text alone: the database holds that its hash is the record's, and where that is dropped readers see it", async () => {
      await expect(asOwner(database, `UPDATE audit SET record = 'x' WHERE sequence = 6`)).rejects.toMatchObject({
        code: '23514',
      });
      await asOwner(
        database,
        `ALTER TABLE audit DROP CONSTRAINT audit_leaf_of_record; UPDATE audit SET record = 'x' WHERE sequence = 6`,
      );
      expect((await readWholeLog(log, head)).wrong).toContain('record 6 has another hash');
      await asOwner(
        database,
        `UPDATE audit SET record = ${bytea(records[6]!)} WHERE sequence = 6;
        ALTER TABLE audit ADD CONSTRAINT audit_leaf_of_record CHECK (leaf_sha256 = sha256('\\x00'::bytea || record))`,
      );
    });

    test('a record removed: nothing can be shown of its neighbours', async () => {
      await asOwner(database, 'DELETE FROM audit WHERE sequence = 6');
      await expect(log.inclusion(leafHash(records[7]!), head.size)).toRejectWithCode('audit.tree_damaged');
      expect((await readWholeLog(log, head)).wrong).toContain('expected record 6, got 7');
    });

    test("two records in each other's place", async () => {
      await asOwner(
        database,
        'UPDATE audit SET sequence = 99 WHERE sequence = 6; UPDATE audit SET sequence = 6 WHERE sequence = 8; UPDATE audit SET sequence = 8 WHERE sequence = 99',
      );
      expect(await leadsToHead(records[6]!)).toBe(false);
      expect((await readWholeLog(log, head)).wrong).toContain('the records are not those of the head');
    });

    test('a record taken out of the tree, to come again at its end', async () => {
      await asOwner(database, 'UPDATE audit SET sequence = NULL WHERE sequence = 6');
      const later = await log.update();
      expect((await readWholeLog(log, later)).wrong).toContain('expected record 6, got 7');
      await expect(log.inclusion(leafHash(records[7]!), later.size)).toRejectWithCode('audit.tree_damaged');
    });

    test('a subtree changed: no proof through it is good', async () => {
      await asOwner(database, `UPDATE audit_nodes SET sha256 = sha256('x') WHERE level = 2 AND position = 0`);
      expect(await leadsToHead(records[5]!)).toBe(false);
      expect(await leadsToHead(records[0]!)).toBe(true);
      const root = createHash('sha256').digest();
      expect(isConsistent({ size: 6, root }, head, await log.consistency(6, head.size))).toBe(false);
      expect((await readWholeLog(log, head)).wrong).toEqual(['record 3 completes another subtree of level 2']);
    });

    test('a subtree removed: no proof through it is made', async () => {
      await asOwner(database, 'DELETE FROM audit_nodes WHERE level = 2 AND position = 0');
      await expect(log.inclusion(leafHash(records[5]!), head.size)).toRejectWithCode('audit.tree_damaged');
      await expect(log.consistency(6, head.size)).toRejectWithCode('audit.tree_damaged');
    });
  });

  test('a replica that knows no key of the log signs nothing, and goes on when it has read the new one', async () => {
    const next = makeSigningKey('next');
    const reads: boolean[] = [];
    const file = (...keys: TestSigningKey[]): ReturnType<typeof readLogKeys> =>
      readLogKeys(JSON.stringify({ keys: keys.map(({ privateKey }) => privateKey) }));
    // As a file that another key was put into, and that this replica looks at once a second.
    const late = new AuditLog({
      database,
      trustDomain: 'sls.test',
      keys: ({ fresh = false } = {}) => {
        reads.push(fresh);
        return fresh ? file(next, key) : file(next);
      },
    });
    expect((await late.update()).size).toBe(SIZE);
    expect(reads).toEqual([false, true]);
    const blind = openTestLog(database, { key: stranger });
    await expect(blind.update()).toRejectWithCode('audit.key_unknown', { grpcStatus: 14 });
  });
});
