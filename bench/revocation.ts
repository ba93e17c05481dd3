import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { importJWK } from 'jose';
import type { CryptoKey } from 'jose';
import { verifyEvidence } from '../attestation/evidence/verify';
import { currentlyRevoked, isAnyRevoked, revoke } from '../licensing/revocation/store';
import { openDatabase } from '../licensing/store/database';
import { startEmbeddedPostgres } from '../launcher/postgres/embedded';
import { checkRevocations, readRevocations, signRevocations } from '../attestation/trust/revocations';
import { makeEvidence, makeFakeTpm, verifyOptions } from '../test/support/evidence';
import { makeSigningKey } from '../test/support/trust';
import { percentile, timed } from './bench';
import type { Row } from './bench';

const ROUNDS = 300;
const REVOKED = [0, 1_000];
const USER = '00000000-0000-4000-8000-000000000000';

/**
 * What revocation adds to a login, on both sides: two statements, login's own verification and a signature; a verification at the client.
 * A login without the check is shorter by this. Measured apart from the rest of a login, whose own spread would hide it.
 */
export async function run(): Promise<Row[]> {
  const folder = mkdtempSync(join(tmpdir(), 'sls-bench-'));
  const postgres = await startEmbeddedPostgres(join(folder, 'data'), join(folder, 'socket'));
  const database = openDatabase(postgres.url, { poolSize: 2 });
  try {
    const tpm = await makeFakeTpm();
    const evidence = makeEvidence(tpm, { claims: { user: USER } });
    const options = verifyOptions(tpm);
    const { publicKey, privateKey } = makeSigningKey();
    const signer = { kid: publicKey.kid, key: (await importJWK(privateKey, 'ES256')) as CryptoKey };
    const subject = {
      node: tpm.node,
      akSha256: createHash('sha256').update(tpm.akPublic).digest('hex'),
      ekSha256: 'ab'.repeat(32),
      user: USER,
    };
    const rows: Row[] = [];
    let put = 0;
    for (const revoked of REVOKED) {
      for (; put < revoked; put++) {
        const name = createHash('sha256').update(String(put)).digest('hex');
        await revoke(database, {
          kind: put % 2 === 0 ? 'ak' : 'ek',
          subject: name,
          revokedBy: 'bench',
          reason: 'bench',
        });
      }
      const server: number[] = [];
      const client: number[] = [];
      let list = '';
      for (let round = 0; round < ROUNDS; round++) {
        const served = await timed(async () => {
          await isAnyRevoked(database, [['user', USER]]);
          const now = await currentlyRevoked(database, USER);
          verifyEvidence(evidence, options);
          checkRevocations(now, subject);
          return signRevocations({ ...now, trustSequence: 1 }, signer, new Date());
        });
        server.push(served.ms);
        list = served.result;
        client.push(
          (await timed(async () => checkRevocations(await readRevocations(list, [publicKey], new Date()), subject))).ms,
        );
      }
      const note = `${revoked} revoked, list of ${(list.length / 1024).toFixed(1)} KiB`;
      rows.push(
        {
          name: `login, added at the service with ${revoked} revoked, p50`,
          value: percentile(server, 0.5),
          unit: 'ms',
          note,
        },
        {
          name: `login, added at the service with ${revoked} revoked, p99`,
          value: percentile(server, 0.99),
          unit: 'ms',
        },
        { name: `login, added at the client with ${revoked} revoked, p50`, value: percentile(client, 0.5), unit: 'ms' },
      );
    }
    return rows;
  } finally {
    await database.close();
    await postgres.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}
