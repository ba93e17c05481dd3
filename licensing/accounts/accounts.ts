import { randomUUID } from 'node:crypto';
import { appendRecord } from '../audit/audit';
import { newRecord } from '../../attestation/transparency/record';
import type { Database } from '../store/database';
import { dateOf, systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';

interface Account {
  /** Opaque: it says nothing about the user, and stands in certificates and evidence. */
  id: string;
  username: string;
  /** Undefined of an account that has no password: its user logs in by OIDC. */
  passwordHash: string | undefined;
  /** By an administrator. */
  revoked: boolean;
}

interface Row {
  id: string;
  username: string;
  password_hash: string | null;
  revoked: boolean;
}

const COLUMNS = `id, username, password_hash,
  EXISTS (SELECT 1 FROM revocations r WHERE r.kind = 'user' AND r.subject = accounts.id::text) AS revoked`;
const toAccount = ({ id, username, password_hash, revoked }: Row): Account => ({
  id,
  username,
  passwordHash: password_hash ?? undefined,
  revoked,
});

/** The accounts table. Usernames are normalized ones: see username.ts. Refusals of the database: see Database. */
export class Accounts {
  constructor(
    private readonly database: Database,
    private readonly clock: Clock = systemClock,
  ) {}

  /** Creates an account and records that, without its name. @returns the new account's id; undefined when the username is taken */
  async create(username: string, passwordHash: string): Promise<string | undefined> {
    const id = randomUUID();
    // The id is new, so the row tells whether a first try whose answer was lost took effect: then this is ours, not taken.
    const record = newRecord({ kind: 'account.created', detail: { user: id } }, dateOf(this.clock));
    return this.database.transactionTwice(async (queries) => {
      const rows = await queries.query<{ id: string }>(
        `WITH created AS (
           INSERT INTO accounts (id, username, password_hash) VALUES ($1, $2, $3)
           ON CONFLICT DO NOTHING RETURNING id
         )
         SELECT id FROM created UNION ALL SELECT id FROM accounts WHERE id = $1`,
        [id, username, passwordHash],
      );
      if (rows.length === 0) return undefined;
      await appendRecord(queries, record);
      return id;
    });
  }

  async find(username: string): Promise<Account | undefined> {
    const rows = await this.database.queryTwice<Row>(`SELECT ${COLUMNS} FROM accounts WHERE username = $1`, [username]);
    return rows[0] && toAccount(rows[0]);
  }

  async findById(id: string): Promise<Account | undefined> {
    const rows = await this.database.queryTwice<Row>(`SELECT ${COLUMNS} FROM accounts WHERE id = $1`, [id]);
    return rows[0] && toAccount(rows[0]);
  }
}
