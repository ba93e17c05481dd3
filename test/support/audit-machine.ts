import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Client } from 'pg';
import { withService } from '../../client/channel';
import { TransparencyServiceClient } from '../../proto/gen/licensing/v1/transparency';
import { callUnary } from '../../runtime/rpc/client';
import { eventually } from './eventually';
import { Machine, PASSWORD } from './machine';
import type { Ended } from './machine';

export interface Head {
  size: number;
  root: string;
  at: string;
  signed: string;
}

/** What `sls audit check --json` prints. */
export interface Checked {
  head: Head;
  before: Head | null;
  logins: Array<{ at: string; session: string; workload: string; node: string; state: string; record: number | null }>;
}

export interface Refused {
  message: string;
  code: string;
  step?: string;
  hint: string;
  exitCode: number;
  records?: { first: number; last: number };
}

const TABLES = ['audit', 'audit_nodes', 'audit_tree'];
/** For so long a replica hands out the head that it has in memory, by the clock of this machine. */
const HEAD_MS = 1_100;

/** A person's machine that runs the service as well: what they see of its audit log, and what whoever owns its database can do. */
export class AuditMachine extends Machine {
  private sql!: Client;

  /** With ada, who has logged in. */
  static async start(): Promise<AuditMachine> {
    const machine = new AuditMachine();
    await machine.startService();
    await machine.signUpAndLogin('ada');
    machine.sql = new Client({ connectionString: readFileSync(machine.server('run', 'database-url'), 'utf8').trim() });
    await machine.sql.connect();
    return machine;
  }

  override async remove(): Promise<void> {
    await this.sql.end();
    await super.remove();
  }

  check(args: string[] = [], env: Record<string, string> = {}): Promise<Ended> {
    return this.sls(['audit', 'check', '--json', '-q', ...args], { env });
  }

  verify(args: string[] = [], env: Record<string, string> = {}): Promise<Ended> {
    return this.sls(['admin', 'audit', 'verify', '--json', '-q', ...args], { env });
  }

  login(args: string[] = []): Promise<Ended> {
    return this.sls(['login', '-q', ...args]);
  }

  loginByPassword(args: string[] = [], env: Record<string, string> = {}): Promise<Ended> {
    return this.sls(['login', '-q', '--username', 'ada', '--password-stdin', ...args], { env, stdin: `${PASSWORD}\n` });
  }

  /** The head that the service signs now, unverified. @throws RpcError */
  private async servedHead(): Promise<{ kid: string; size: number }> {
    const trust = this.trustBundle();
    const { head } = await withService(TransparencyServiceClient, trust.services.login, trust, {}, (client) =>
      callUnary(client, client.getTreeHead, { atLeast: 0n }, { timeout: 120_000 }),
    );
    const [header = '', payload = ''] = head.split('.');
    const decode = (part: string): unknown => JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
    return { ...(decode(header) as { kid: string }), ...(decode(payload) as { size: number }) };
  }

  /** Until the service's head, which may be of the last second, is one over all that is recorded. */
  async untilHeadHasAll(): Promise<void> {
    const [row] = await this.query<{ count: number }>('SELECT count(*)::int AS count FROM audit');
    await eventually(async () => (await this.servedHead()).size >= row!.count);
  }

  /** Until the service has seen that its log key is another one. */
  async untilLogKeyIs(kid: string): Promise<void> {
    await eventually(async () => (await this.servedHead()).kid === kid);
  }

  /** Until the service signs no head, for this reason. */
  async untilNoHead(code: string): Promise<void> {
    await eventually(() =>
      this.servedHead().then(
        () => false,
        (error: { code: string }) => error.code === code,
      ),
    );
  }

  /** Until an administrator is refused for this reason: their service looks at the files of its keys by itself. */
  async untilVerifyEnds(code: string): Promise<void> {
    await eventually(async () => {
      const { error } = JSON.parse((await this.verify()).stdout) as { error?: Refused };
      return error?.code === code;
    });
  }

  /** Files in which a machine remembers the audit log of the one installation that there is. */
  remembered(pattern: RegExp, home = 'state'): string[] {
    const [folder, ...others] = readdirSync(this.path(home, 'sls', 'log'));
    expect(others).toEqual([]);
    return readdirSync(this.path(home, 'sls', 'log', folder!))
      .filter((name) => pattern.test(name))
      .map((name) => this.path(home, 'sls', 'log', folder!, name));
  }

  /** Makes receipts two minutes older, which is more than the log may take: nothing is pending any more. */
  ageReceipts(home = 'state'): void {
    for (const file of this.remembered(/^login-/, home)) {
      const { receivedAt, record } = JSON.parse(readFileSync(file, 'utf8')) as { receivedAt: string; record: string };
      writeFileSync(
        file,
        JSON.stringify({ receivedAt: new Date(Date.parse(receivedAt) - 120_000).toISOString(), record }),
      );
    }
  }

  async query<T extends object>(statement: string, values: unknown[] = []): Promise<T[]> {
    return (await this.sql.query<T>(statement, values)).rows;
  }

  /** As the owner of the database: constraints are dropped, triggers are off, then the tables are changed as they like. */
  async tamper(...statements: string[]): Promise<void> {
    const off = [
      ...TABLES.map((table) => `ALTER TABLE ${table} DISABLE TRIGGER USER`),
      'ALTER TABLE audit DROP CONSTRAINT IF EXISTS audit_leaf_of_record',
    ];
    await this.sql.query([...off, ...statements].join(';'));
    const changedAt = Date.now();
    await eventually(() => Date.now() - changedAt > HEAD_MS);
  }

  /** What is in the database, and what this machine remembers, comes back afterwards. */
  async restoringAll(work: () => Promise<void>): Promise<void> {
    await this.sql.query(TABLES.map((table) => `CREATE TABLE saved_${table} AS SELECT * FROM ${table}`).join(';'));
    const [memory, saved] = [this.path('state', 'sls', 'log'), this.path('saved-memory')];
    cpSync(memory, saved, { recursive: true });
    try {
      await work();
    } finally {
      await this.tamper(
        ...TABLES.map((table) => `DELETE FROM ${table}`),
        'INSERT INTO audit OVERRIDING SYSTEM VALUE SELECT * FROM saved_audit',
        'INSERT INTO audit_nodes SELECT * FROM saved_audit_nodes',
        'INSERT INTO audit_tree SELECT * FROM saved_audit_tree',
        ...TABLES.flatMap((table) => [`DROP TABLE saved_${table}`, `ALTER TABLE ${table} ENABLE TRIGGER USER`]),
      );
      rmSync(memory, { recursive: true });
      cpSync(saved, memory, { recursive: true });
      rmSync(saved, { recursive: true });
    }
  }
}

/** Of a command that went well. */
export async function answerOf<T = Checked>(ended: Promise<Ended>): Promise<T> {
  const { code, stdout, stderr } = await ended;
  if (code !== 0) throw new Error(`ended with ${code}: ${stderr}`);
  return JSON.parse(stdout) as T;
}

/** Of a command that was refused, whose exit code is that of its document. */
export async function refusalOf(ended: Promise<Ended>): Promise<Refused> {
  const { code, stdout } = await ended;
  const { error } = JSON.parse(stdout) as { error: Refused };
  expect(code).toBe(error.exitCode);
  return error;
}
