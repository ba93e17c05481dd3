import { credentials } from '@grpc/grpc-js';
import type { AuditLog } from '../../../licensing/audit/log';
import { callUnary } from '../../../runtime/rpc/client';
import { startServer } from '../../../runtime/rpc/server';
import type { RunningServer } from '../../../runtime/rpc/server';
import type { Database } from '../../../licensing/store/database';
import { leafHash, rootFromPath } from '../../../attestation/transparency/merkle';
import { isConsistent } from '../../../attestation/transparency/proof';
import { keysByName, readTreeHead } from '../../../attestation/transparency/tree-head';
import type { TreeHead } from '../../../attestation/transparency/tree-head';
import { transparencyService } from '../../../functions/login/transparency';
import { TransparencyServiceClient, TransparencyServiceService } from '../../../proto/gen/licensing/v1/transparency';
import { asOwner, describeOnBoth, emptyLog, openTestLog, unknownLeaf, writeRecords } from '../../support/audit';
import { makeSigningKey } from '../../support/trust';

const TIMEOUT = { timeout: 120_000 };
const LARGEST = 2n ** 63n - 1n;
const key = makeSigningKey('log');

describeOnBoth('a stranger who asks two replicas', (store) => {
  let database: Database;
  let replicas: Array<{ log: AuditLog; server: RunningServer; client: TransparencyServiceClient }>;

  beforeAll(async () => {
    database = store().open();
    await emptyLog(database);
    replicas = await Promise.all(
      [0, 1].map(async () => {
        const log = openTestLog(store().open(), { key });
        const server = await startServer({
          address: { scheme: 'http', host: '127.0.0.1', port: 0 },
          services: [{ definition: TransparencyServiceService, implementation: transparencyService(log) }],
        });
        return {
          log,
          server,
          client: new TransparencyServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure()),
        };
      }),
    );
  });
  afterAll(async () => {
    for (const { log, server, client } of replicas) {
      client.close();
      log.close();
      await server.stop(0);
    }
  });

  const client = (at: number): TransparencyServiceClient => replicas[at]!.client;
  const read = (head: string): Promise<TreeHead> =>
    readTreeHead(head, { keyOf: keysByName([key.publicKey]), trustDomain: 'sls.test', now: new Date() });
  const head = async (at: number, atLeast = 0n): Promise<TreeHead> =>
    read((await callUnary(client(at), client(at).getTreeHead, { atLeast }, TIMEOUT)).head);
  const inclusion = (
    at: number,
    leafSha256: Buffer,
    size: bigint,
  ): ReturnType<typeof callUnary<object, { sequence: bigint; path: Buffer[] }>> =>
    callUnary(client(at), client(at).getInclusionProof, { leafSha256, size }, TIMEOUT);
  const consistency = (
    at: number,
    first: bigint,
    second: bigint,
  ): ReturnType<typeof callUnary<object, { path: Buffer[] }>> =>
    callUnary(client(at), client(at).getConsistencyProof, { first, second }, TIMEOUT);

  test('is shown that a record is in the log, and that later heads only add, by whichever of them', async () => {
    const [record] = await writeRecords(database, 7);
    const first = await head(0, 7n);
    expect(first.size).toBe(7);
    const leaf = leafHash(record!);
    const { sequence, path } = await inclusion(1, leaf, 7n);
    expect(rootFromPath(leaf, Number(sequence), first.size, path)).toEqual(first.root);
    await writeRecords(database, 30);
    await replicas[1]!.log.update();
    // The other replica has a head of this second in memory, and looks again for who knows a larger one.
    const later = await head(0, 37n);
    expect(later.size).toBe(37);
    expect(isConsistent(first, later, (await consistency(1, 7n, 37n)).path)).toBe(true);
  });

  test('gets an answer to whatever sizes and hashes it names', async () => {
    expect((await head(0, LARGEST)).size).toBe((await head(1, -LARGEST)).size);
    for (const size of [-1n, LARGEST, -LARGEST, 38n]) {
      await expect(inclusion(0, unknownLeaf(), size)).toRejectWithCode('audit.size', { grpcStatus: 3 });
      await expect(consistency(0, 1n, size)).toRejectWithCode('audit.size', { grpcStatus: 3 });
      await expect(consistency(0, size, 37n)).toRejectWithCode('audit.size', { grpcStatus: 3 });
    }
    for (const leaf of [Buffer.alloc(0), Buffer.alloc(31), Buffer.alloc(500), unknownLeaf()]) {
      await expect(inclusion(1, leaf, 37n)).toRejectWithCode('audit.not_included', { grpcStatus: 5 });
    }
    expect((await consistency(0, 0n, 37n)).path).toEqual([]);
    expect((await consistency(0, 37n, 37n)).path).toEqual([]);
  });

  test('is told when the tree was changed, and gets no head', async () => {
    await asOwner(database, 'UPDATE audit_tree SET head = NULL');
    for (const { log } of replicas) await log.update().catch(() => undefined);
    for (const at of [0, 1]) await expect(head(at)).toRejectWithCode('audit.tree_damaged', { grpcStatus: 9 });
  });
});
