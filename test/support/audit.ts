import { readRecord } from '../../core/audit/record';
import type { AuditRecord } from '../../core/audit/record';
import { AuditLog } from '../../core/audit/log';
import type { Database, Queries } from '../../core/store/database';
import { readTokenKeys } from '../../core/tokens/keys';
import { makeSigningKey } from './trust';
import type { TestSigningKey } from './trust';

/** Everything that was recorded, in the tree or not, in the order of writing. */
export async function recordsOf(queries: Queries): Promise<AuditRecord[]> {
  return (await queries.query<{ record: Buffer }>('SELECT record FROM audit ORDER BY id')).map(({ record }) => readRecord(record));
}

/** A log as login and admin open it, signed by a key of the test's. */
export function openTestLog(database: Database, { key = makeSigningKey('log'), trustDomain = 'sls.test' }: { key?: TestSigningKey; trustDomain?: string } = {}): AuditLog {
  const keys = readTokenKeys(JSON.stringify({ keys: [key.privateKey] }));
  return new AuditLog({ database, trustDomain, keys: () => keys });
}
