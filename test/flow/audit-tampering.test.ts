import { readFileSync, writeFileSync } from 'node:fs';
import { leafHash } from '../../attestation/transparency/merkle';
import { answerOf, AuditMachine, refusalOf } from '../support/audit-machine';
import { makeSigningKey } from '../support/trust';

let machine: AuditMachine;
beforeAll(async () => {
  machine = await AuditMachine.start();
  expect((await machine.login()).code).toBe(0);
  await answerOf(machine.check());
});
afterAll(() => machine.remove());

/** The place of the record of this machine's own newest login. */
async function ownRecord(): Promise<{ sequence: number; record: Buffer }> {
  const file = machine.remembered(/^login-/).pop()!;
  const record = Buffer.from((JSON.parse(readFileSync(file, 'utf8')) as { record: string }).record, 'base64');
  const [row] = await machine.query<{ sequence: string }>('SELECT sequence FROM audit WHERE leaf_sha256 = $1', [
    leafHash(record),
  ]);
  return { sequence: Number(row!.sequence), record };
}

const hex = (bytes: Uint8Array): string => `'\\x${Buffer.from(bytes).toString('hex')}'`;
/** The same record, but of somebody else. */
const forged = (record: Buffer): Buffer =>
  Buffer.from(record.toString('utf8').replace(/"user":"[^"]+"/, '"user":"somebody-else"'), 'utf8');

/** To the tree in the table `older`, with nothing that came after it. */
const ROLL_BACK = [
  'DELETE FROM audit_nodes WHERE (position + 1) * (1::bigint << level) > (SELECT size FROM older)',
  'DELETE FROM audit WHERE sequence IS NULL OR sequence >= (SELECT size FROM older)',
  'DELETE FROM audit_tree',
  'INSERT INTO audit_tree SELECT * FROM older',
  'DROP TABLE older',
];

describe('somebody with all rights on the database changes it: everybody who looks gets exit code 5', () => {
  test('a record: the administrator is told which one', async () => {
    await machine.restoringAll(async () => {
      const { sequence, record } = await ownRecord();
      await machine.tamper(`UPDATE audit SET record = ${hex(forged(record))} WHERE sequence = ${sequence}`);
      const { code, exitCode, records, message, hint } = await refusalOf(machine.verify());
      expect({ code, exitCode, records, message }).toEqual({
        code: 'log.record_wrong',
        exitCode: 5,
        records: { first: sequence, last: sequence },
        message: `record ${sequence} is not what was recorded: it does not have the hash that it had`,
      });
      expect(hint).toContain('changed the record');
    });
    expect((await machine.verify()).code).toBe(0);
  });

  test('a record and its hash: the administrator is told which two it is one of, and the user that their login is gone', async () => {
    await machine.restoringAll(async () => {
      const { sequence, record } = await ownRecord();
      await machine.tamper(
        `UPDATE audit SET record = ${hex(forged(record))}, leaf_sha256 = ${hex(leafHash(forged(record)))} WHERE sequence = ${sequence}`,
      );
      const refused = await refusalOf(machine.verify());
      expect(refused).toMatchObject({ code: 'log.record_wrong', exitCode: 5 });
      expect(refused.records!.first).toBeLessThanOrEqual(sequence);
      expect(refused.records!.last).toBeGreaterThanOrEqual(sequence);
      machine.ageReceipts();
      expect(await refusalOf(machine.check())).toMatchObject({
        code: 'log.record_missing',
        exitCode: 5,
        message: expect.stringMatching(/^the login of \S+ \(session \S+\) is not in the audit log$/),
      });
    });
  });

  test('a record removed: pending for a minute at most, then refused', async () => {
    const alone = machine.elsewhere('alone');
    await machine.restoringAll(async () => {
      await machine.loginByPassword([], alone);
      const [own] = (await answerOf(machine.check([], alone))).logins;
      await answerOf(machine.check());
      await machine.tamper(`DELETE FROM audit WHERE sequence = ${own!.record}`);
      expect((await answerOf(machine.check([], alone))).logins).toEqual([{ ...own, state: 'pending', record: null }]);
      expect((await machine.sls(['audit', 'check'], { env: alone })).stderr).toContain(
        '1 is not in it yet: look again in a minute',
      );
      machine.ageReceipts('alone');
      expect(await refusalOf(machine.check([], alone))).toMatchObject({
        code: 'log.record_missing',
        exitCode: 5,
        message: `the login of ${own!.at} (session ${own!.session}) is not in the audit log`,
        hint: expect.stringContaining('ask your operator'),
      });
      expect(await refusalOf(machine.verify())).toMatchObject({
        code: 'log.record_missing',
        exitCode: 5,
        message: `record ${own!.record} is missing`,
        records: { first: own!.record, last: own!.record },
      });
    });
  });

  test('a hash of the tree: the records are said to be right', async () => {
    await machine.restoringAll(async () => {
      await machine.tamper(
        `UPDATE audit_nodes SET sha256 = ${hex(Buffer.alloc(32, 7))} WHERE level = 1 AND position = 1`,
      );
      expect(await refusalOf(machine.verify())).toMatchObject({
        code: 'log.tampered',
        exitCode: 5,
        records: { first: 2, last: 3 },
        message: expect.stringMatching(/^all \d+ records are what was signed/),
      });
      await machine.tamper('DELETE FROM audit_nodes');
      expect(await refusalOf(machine.verify())).toMatchObject({
        code: 'log.tampered',
        exitCode: 5,
        records: { first: 0, last: 1 },
      });
      // Proofs are made of these hashes.
      expect(await refusalOf(machine.check())).toMatchObject({ code: 'audit.tree_damaged', exitCode: 5 });
    });
  });

  test('the tree rolled back to an older head: told to user and administrator, and both heads are kept', async () => {
    await machine.restoringAll(async () => {
      await answerOf(machine.check());
      await machine.query('CREATE TABLE older AS SELECT * FROM audit_tree');
      expect((await machine.login()).code).toBe(0);
      // An administrator gets no head out of a replica's memory.
      const { head } = await answerOf(machine.verify());
      await machine.tamper(...ROLL_BACK);
      const refused = await refusalOf(machine.check());
      expect(refused).toMatchObject({
        code: 'log.rolled_back',
        exitCode: 5,
        hint: expect.stringContaining('sls audit forget'),
        message: expect.stringContaining(`it had ${head.size} records`),
      });
      expect(await refusalOf(machine.verify())).toMatchObject({ code: 'log.rolled_back', exitCode: 5 });
      const [, file] = /both signed heads are kept: (\S+)\n/.exec(
        (await machine.sls(['admin', 'audit', 'verify'])).stderr,
      )!;
      expect(JSON.parse(readFileSync(file!, 'utf8'))).toEqual({
        before: [head.signed],
        now: expect.stringMatching(/^ey/),
      });
      // The operator says that it was a backup.
      expect((await machine.sls(['audit', 'forget'])).stderr).toMatch(/is forgotten\n$/);
      expect((await answerOf(machine.check())).before).toBeNull();
      expect(JSON.parse((await machine.sls(['audit', 'forget', '--json'])).stdout)).toEqual({ forgotten: true });
      expect(JSON.parse((await machine.sls(['audit', 'forget', '--json'])).stdout)).toEqual({ forgotten: false });
    });
  });

  test('a fork: rolled back, and grown again with other records beyond what was seen', async () => {
    await machine.restoringAll(async () => {
      await machine.query('CREATE TABLE older AS SELECT * FROM audit_tree');
      const { head: base } = await answerOf(machine.check());
      expect((await machine.login()).code).toBe(0);
      // An administrator gets no head out of a replica's memory.
      const { head } = await answerOf(machine.verify());
      writeFileSync(machine.path('seen.json'), JSON.stringify({ head }));
      await machine.tamper(...ROLL_BACK);
      const linus = machine.elsewhere('linus');
      for (let i = 0; i < 3; i++) expect((await machine.loginByPassword([], linus)).code).toBe(0);
      // Who never saw the other log finds nothing wrong with this one, until two people compare.
      expect((await answerOf(machine.check([], linus))).head.size).toBeGreaterThan(head.size);
      expect(await refusalOf(machine.check(['--head', 'seen.json'], linus))).toMatchObject({
        code: 'log.forked',
        exitCode: 5,
      });
      expect(await refusalOf(machine.check())).toMatchObject({ code: 'log.forked', exitCode: 5 });
      expect(await refusalOf(machine.verify())).toMatchObject({
        code: 'log.forked',
        exitCode: 5,
        records: { first: 0, last: head.size - 1 },
      });
      expect(base.size).toBeLessThan(head.size);
      expect(
        await refusalOf(
          machine.verify(['--dir', machine.server(), '--head', 'seen.json'], {
            XDG_STATE_HOME: machine.path('auditor'),
          }),
        ),
      ).toMatchObject({ code: 'log.forked', exitCode: 5 });
    });
  });

  test('the tree, but not its signed head: the service signs nothing more, and the administrator still learns which record it is', async () => {
    await machine.restoringAll(async () => {
      await answerOf(machine.check());
      const { sequence, record } = await ownRecord();
      await machine.tamper(
        `UPDATE audit SET record = ${hex(forged(record))} WHERE sequence = ${sequence}`,
        `UPDATE audit_tree SET frontier = overlay(frontier placing '\\x07' from 1 for 1)`,
      );
      await machine.sls(['sessions', 'list']);
      expect(await refusalOf(machine.check())).toMatchObject({
        code: 'audit.tree_damaged',
        exitCode: 5,
        hint: expect.stringContaining('sls admin audit verify'),
      });
      expect(await refusalOf(machine.verify())).toMatchObject({
        code: 'log.record_wrong',
        exitCode: 5,
        records: { first: sequence, last: sequence },
      });
      await machine.tamper(`UPDATE audit SET record = ${hex(record)} WHERE sequence = ${sequence}`);
      expect(await refusalOf(machine.verify())).toMatchObject({ code: 'audit.tree_damaged', exitCode: 5 });
    });
  });

  test('heads signed by another key, by a service that has it', async () => {
    const file = machine.server('keys', 'log-keys.json');
    const own = readFileSync(file, 'utf8');
    const [mine] = (JSON.parse(own) as { keys: Array<Record<string, string>> }).keys;
    const { d: _, ...retired } = mine!;
    await machine.restoringAll(async () => {
      try {
        const stranger = makeSigningKey('stranger').privateKey;
        writeFileSync(file, JSON.stringify({ keys: [stranger], retired: [retired] }));
        await machine.untilLogKeyIs(stranger.kid);
        await machine.untilVerifyEnds('log.head_signature');
        for (const refused of [await refusalOf(machine.check()), await refusalOf(machine.verify())])
          expect(refused).toMatchObject({ code: 'log.head_signature', exitCode: 5 });
      } finally {
        writeFileSync(file, own);
        await machine.untilNoHead('audit.key_unknown');
        await machine.untilVerifyEnds('audit.key_unknown');
      }
      // The service itself takes no such head for its own: it signs nothing after it.
      for (const refused of [await refusalOf(machine.check()), await refusalOf(machine.verify())]) {
        expect(refused).toMatchObject({
          code: 'audit.key_unknown',
          exitCode: 6,
          hint: expect.stringContaining('sls admin audit verify'),
        });
      }
      const { sequence, record } = await ownRecord();
      await machine.tamper(`UPDATE audit SET record = ${hex(forged(record))} WHERE sequence = ${sequence}`);
      expect(await refusalOf(machine.verify())).toMatchObject({
        code: 'log.record_wrong',
        exitCode: 5,
        records: { first: sequence, last: sequence },
      });
    });
    expect((await machine.check()).code).toBe(0);
  });
});
