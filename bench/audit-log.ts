import { randomUUID } from 'node:crypto';
import { appendRecord, appendRecords } from '../licensing/audit/audit';
import { newRecord } from '../attestation/transparency/record';
import type { AccountBackend } from '../licensing/accounts/backend';
import type { Database } from '../licensing/store/database';
import { leafHash } from '../attestation/transparency/merkle';
import { beginSession, openReplica, writeAccountFiles } from '../test/support/accounts';
import { openTestLog } from '../test/support/audit';
import { startEmbeddedTestPostgres } from '../test/support/embedded-postgres';
import { noPostgres, startTestPostgres } from '../test/support/postgres';
import { percentile, timed } from './bench';
import type { Row } from './bench';

export interface Sizes {
  /** Of each kind, by turns. */
  logins: number;
  proofs: number;
  /** Records that wait for their places, and how often. */
  waiting: ReadonlyArray<readonly [records: number, rounds: number]>;
}

const SIZES: Sizes = {
  logins: 1_000,
  proofs: 300,
  waiting: [
    [1, 100],
    [100, 30],
    [10_000, 3],
  ],
};

/**
 * What the audit log costs: a login's own transaction, at whose end the record is written, with the record and without, by turns; then what brings records into
 * the tree, in the background, which is a signature and a lock for all that wait together; and the proofs that clients ask for. On the embedded database and, where there is one, on a PostgreSQL server,
 * which doesn't wait for its disk here: a record adds nothing to that, because it is written with its transaction.
 */
export async function run(sizes: Sizes = SIZES): Promise<Row[]> {
  const rows = await on('embedded', startEmbeddedTestPostgres, sizes);
  return noPostgres === undefined ? [...rows, ...(await on('PostgreSQL', startTestPostgres, sizes))] : rows;
}

async function on(
  name: string,
  start: () => Promise<{ url: string; stop(): Promise<void> }>,
  sizes: Sizes,
): Promise<Row[]> {
  const server = await start();
  const files = await writeAccountFiles(server.url);
  const backend = await openReplica(files);
  try {
    const rows = [...(await logins(backend, sizes)), ...(await merges(backend.database, sizes))];
    return rows.map((row) => ({ ...row, name: `${name}: ${row.name}` }));
  } finally {
    await backend.close();
    await files.remove();
    await server.stop();
  }
}

/** As large as a login's. */
function loginRecordOf(user: string, session: string): Buffer {
  const hash = 'ab'.repeat(32);
  return newRecord(
    {
      kind: 'login.granted',
      detail: {
        user,
        session,
        workloadUid: randomUUID(),
        node: 'node-a',
        imageDigest: `sha256:${hash}`,
        claimsSha256: hash,
      },
    },
    new Date(),
  );
}

async function logins(backend: AccountBackend, { logins: rounds }: Sizes): Promise<Row[]> {
  const user = (await backend.accounts.create('bench', 'no password of anyone'))!;
  const { session } = await beginSession(backend, user);
  const [without, withRecord]: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round++) {
    const [plain, recording] = [
      async () => void without.push((await timed(() => backend.sessions.certify({ user, session }, 3600))).ms),
      async () =>
        void withRecord.push(
          (
            await timed(() =>
              backend.sessions.certify({ user, session }, 3600, (queries) =>
                appendRecord(queries, loginRecordOf(user, session)),
              ),
            )
          ).ms,
        ),
    ];
    for (const turn of round % 2 === 0 ? [plain, recording] : [recording, plain]) await turn();
  }
  return [
    { name: "a login's transaction without its record, p50", value: percentile(without, 0.5), unit: 'ms' },
    { name: "a login's transaction with its record, p50", value: percentile(withRecord, 0.5), unit: 'ms' },
    { name: "a login's transaction without its record, p99", value: percentile(without, 0.99), unit: 'ms' },
    { name: "a login's transaction with its record, p99", value: percentile(withRecord, 0.99), unit: 'ms' },
  ];
}

async function merges(database: Database, { waiting, proofs }: Sizes): Promise<Row[]> {
  const log = openTestLog(database);
  await log.update();
  const samples = new Map(waiting.map(([records]) => [records, [] as number[]]));
  let leaf: Buffer = Buffer.alloc(32);
  for (let round = 0; round < Math.max(...waiting.map(([, rounds]) => rounds)); round++) {
    for (const [records] of waiting.filter(([, rounds]) => round < rounds)) {
      const written = Array.from({ length: records }, () => loginRecordOf(randomUUID(), randomUUID()));
      for (let at = 0; at < records; at += 1_000) await appendRecords(database, written.slice(at, at + 1_000));
      samples.get(records)!.push((await timed(() => log.update())).ms / records);
      leaf = leafHash(written[0]!);
    }
  }
  const { size } = await log.update();
  const [inclusion, consistency]: [number[], number[]] = [[], []];
  for (let nth = 0; nth < proofs; nth++) {
    inclusion.push((await timed(() => log.inclusion(leaf, size))).ms);
    consistency.push((await timed(() => log.consistency(1 + Math.floor(((size - 1) * nth) / proofs), size))).ms);
  }
  log.close();
  const [stored] = await database.query<{ bytes: number }>(
    `SELECT (pg_total_relation_size('audit') + pg_total_relation_size('audit_nodes'))::float8 AS bytes`,
  );
  const note = `${size.toLocaleString('en')} records`;
  return [
    ...waiting.map(([records]) => ({
      name: `into the tree, ${records.toLocaleString('en')} waiting, each, p50`,
      value: percentile(samples.get(records)!, 0.5),
      unit: 'ms',
    })),
    { name: 'inclusion proof, p50', value: percentile(inclusion, 0.5), unit: 'ms', note },
    { name: 'consistency proof, p50', value: percentile(consistency, 0.5), unit: 'ms', note },
    { name: 'on disk, each record with its share of the tree', value: stored!.bytes / size, unit: 'bytes', note },
  ];
}
