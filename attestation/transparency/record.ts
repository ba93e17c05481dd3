import { newUuid } from '../crypto';
import { z } from 'zod';
import { decodeUtf8 } from '../bytes/utf8';

/** A decision about who is trusted, and what came of it. Holds no secret, and users by id only: a name would outlive its account. */
export interface AuditEntry {
  /** What was decided: login.granted, admin.revoke, … */
  kind: string;
  detail: Record<string, unknown>;
}

/** A record of the audit log as it is read. */
export interface AuditRecord extends AuditEntry {
  /** Random: nobody finds out what a hash is of by guessing the rest. */
  id: string;
  at: Date;
}

const schema = z.object({
  id: z.string(),
  at: z.iso.datetime(),
  kind: z.string(),
  detail: z.record(z.string(), z.unknown()),
});

/** The bytes of a new record: what is hashed, stored and shown, and never written again. */
export function newRecord({ kind, detail }: AuditEntry, at: Date): Buffer {
  return Buffer.from(JSON.stringify({ id: newUuid(), at: at.toISOString(), kind, detail }), 'utf8');
}

/** @throws TypeError */
export function readRecord(bytes: Uint8Array): AuditRecord {
  try {
    const { at, ...record } = schema.parse(JSON.parse(decodeUtf8(bytes)));
    return { ...record, at: new Date(at) };
  } catch (cause) {
    throw new TypeError('expected a record of the audit log, got something else', { cause });
  }
}
