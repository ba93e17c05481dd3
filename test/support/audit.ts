import { randomUUID } from 'node:crypto';
import { appendRecords } from '../../licensing/audit/audit';
import { readLogKeys } from '../../licensing/audit/keys';
import { AuditLog } from '../../licensing/audit/log';
import type { SignedHead } from '../../licensing/audit/merge';
import { newRecord, readRecord } from '../../attestation/transparency/record';
import type { AuditRecord } from '../../attestation/transparency/record';
import { openDatabase } from '../../licensing/store/database';
import type { Clock } from '../../runtime/clock';
import type { Database } from '../../licensing/store/database';
import { Frontier } from '../../attestation/transparency/frontier';
import { leafHash } from '../../attestation/transparency/merkle';
import { startEmbeddedTestPostgres } from './embedded-postgres';
import { migratedDatabase, noPostgres } from './postgres';
import { makeSigningKey } from './trust';
import type { TestSigningKey } from './trust';
import type { Queries } from '../../licensing/store/queries';

/** Everything that was recorded, in the tree or not, in the order of writing. */
export async function recordsOf(queries: Queries): Promise<AuditRecord[]> {
  return (await queries.query<{ record: Buffer }>('SELECT record FROM audit ORDER BY id')).map(({ record }) =>
    readRecord(record),
  );
}

/** A log as login and admin open it, signed by a key of the test's. */
export function openTestLog(
  database: Database,
  {
    key = makeSigningKey('log'),
    trustDomain = 'sls.test',
    clock,
  }: { key?: TestSigningKey; trustDomain?: string; clock?: Clock } = {},
): AuditLog {
  const keys = readLogKeys(JSON.stringify({ keys: [key.privateKey] }));
  return new AuditLog({ database, trustDomain, keys: () => keys, ...(clock && { clock }) });
}

/** Writes so many records. @returns their bytes */
export async function writeRecords(queries: Queries, count: number, kind = 'test'): Promise<Buffer[]> {
  const records = Array.from({ length: count }, (_, nth) => newRecord({ kind, detail: { nth } }, new Date()));
  for (let at = 0; at < count; at += 1000) await appendRecords(queries, records.slice(at, at + 1000));
  return records;
}

/**
 * Reads the log as a stranger who believes nothing but the head.
 * @returns what is wrong, in words; the records' bytes in their order
 */
export async function readWholeLog(
  log: AuditLog,
  { size, root }: SignedHead,
): Promise<{ wrong: string[]; records: Buffer[] }> {
  const wrong: string[] = [];
  const records: Buffer[] = [];
  const frontier = new Frontier();
  while (frontier.size < size) {
    const page = await log.stored({ from: frontier.size, size, limit: 500 });
    if (page.length === 0) break;
    for (const { sequence, record, leafSha256, nodes } of page) {
      if (sequence !== frontier.size) wrong.push(`expected record ${frontier.size}, got ${sequence}`);
      if (!leafSha256.equals(leafHash(record))) wrong.push(`record ${sequence} has another hash`);
      const completed = frontier.append(leafHash(record));
      completed.forEach(
        ({ hash, level }, at) =>
          nodes[at]?.equals(hash) || wrong.push(`record ${sequence} completes another subtree of level ${level}`),
      );
      records.push(record);
    }
  }
  if (frontier.size !== size) wrong.push(`expected ${size} records, got ${frontier.size}`);
  if (!frontier.root().equals(root)) wrong.push('the records are not those of the head');
  return { wrong, records };
}

export interface TestStore {
  url: string;
  /** One transaction at a time: nobody can wait for another one's lock. */
  embedded: boolean;
  /** Another pool, as another replica has one. Closed with the store. */
  open(poolSize?: number): Database;
  stop(): Promise<void>;
}

/** The embedded database and a server of Debian's, where there is one: both take the same tests. */
export function describeOnBoth(name: string, tests: (store: () => TestStore) => void): void {
  if (noPostgres !== undefined) console.warn(noPostgres);
  const kinds = [
    ['on the embedded PostgreSQL', startEmbeddedTestPostgres, true],
    ['on a PostgreSQL server', migratedDatabase, noPostgres === undefined],
  ] as const;
  for (const [kind, start, there] of kinds) {
    (there ? describe : describe.skip)(`${name}, ${kind}`, () => {
      let store: TestStore;
      beforeAll(async () => {
        const server = await start();
        const pools: Database[] = [];
        store = {
          url: server.url,
          embedded: start === startEmbeddedTestPostgres,
          open(poolSize = 4) {
            const database = openDatabase(server.url, { poolSize });
            pools.push(database);
            return database;
          },
          async stop() {
            await Promise.all(pools.map((database) => database.close()));
            await server.stop();
          },
        };
      });
      afterAll(() => store.stop());
      tests(() => store);
    });
  }
}

/** Empties the log, as its owner can who drops what is in the way. */
export async function emptyLog(database: Database): Promise<void> {
  await asOwner(
    database,
    `DELETE FROM audit; DELETE FROM audit_nodes; DELETE FROM audit_refusals; DELETE FROM audit_tree; INSERT INTO audit_tree (size, frontier) VALUES (0, '')`,
  );
}

/** Runs statements as the owner of the tables, with no trigger in the way. */
export async function asOwner(database: Database, statements: string): Promise<void> {
  const tables = ['audit', 'audit_nodes', 'audit_tree'];
  await database.transaction(async ({ query }) => {
    for (const table of tables) await query(`ALTER TABLE ${table} DISABLE TRIGGER USER`);
    await query(statements);
    for (const table of tables) await query(`ALTER TABLE ${table} ENABLE TRIGGER USER`);
  });
}

export function unknownLeaf(): Buffer {
  return leafHash(Buffer.from(randomUUID()));
}

/** Freezes the wall clock, and nothing else. */
export function freezeClock(now: Date = new Date()): void {
  jest.useFakeTimers({
    now,
    doNotFake: [
      'hrtime',
      'nextTick',
      'performance',
      'queueMicrotask',
      'requestAnimationFrame',
      'cancelAnimationFrame',
      'requestIdleCallback',
      'cancelIdleCallback',
      'setImmediate',
      'clearImmediate',
      'setInterval',
      'clearInterval',
      'setTimeout',
      'clearTimeout',
    ],
  });
}
