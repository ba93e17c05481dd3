import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { extendingMemory } from '../../../client/cli/extending-memory';
import { LogMemory } from '../../../client/cli/log-memory';
import { Output } from '../../../client/cli/output';
import type { KnownHead, LogHead, LoginReceipt } from '../../../client/index';
import { newRecord } from '../../../attestation/transparency/record';
import { requireGrowth } from '../../../attestation/transparency/growth';
import { leafHash, merkleTree } from '../../../attestation/transparency/merkle';
import { consistencyProof } from '../../../attestation/transparency/proof';
import { makeSigningKey } from '../../support/trust';

let state: string;
let memory: LogMemory;
const trustKey = makeSigningKey('trust').publicKey;
const out = new Output({ quiet: true });

beforeEach(async () => {
  state = mkdtempSync(join(tmpdir(), 'sls-memory-'));
  process.env['XDG_STATE_HOME'] = state;
  memory = await LogMemory.of({ trustKey });
});
afterEach(() => {
  jest.restoreAllMocks();
  rmSync(state, { recursive: true, force: true });
});

const leaves = (salt: string): Buffer[] =>
  Array.from({ length: 16 }, (_, at) => leafHash(Buffer.from(`${at < 4 ? '' : salt}${at}`)));
/** A log, of which there may be another version from the fifth record on. */
function logOf(salt = ''): {
  at(size: number): LogHead;
  growth(known: readonly KnownHead[], head: KnownHead): Promise<void>;
} {
  const of = leaves(salt);
  return {
    at: (size) => ({
      size,
      root: merkleTree(of.slice(0, size)).root,
      at: new Date(1_700_000_000_000 + size * 1000),
      signed: `signed ${size}${salt}`,
    }),
    async growth(known, head) {
      for (const before of known) {
        await requireGrowth(before, head, (first, second) =>
          consistencyProof(first, second, async (positions) =>
            positions.map(
              ({ level, position }) => merkleTree(of.slice(position * 2 ** level, (position + 1) * 2 ** level)).root,
            ),
          ),
        );
      }
    },
  };
}
const log = logOf();
const check =
  (head: LogHead, by = log) =>
  (known: readonly KnownHead[], onHead: (head: LogHead) => void) => {
    onHead(head);
    return by.growth(known, head).then(() => ({ head }));
  };
const files = (): string[] => readdirSync(memory.folder).sort();

const receipt = (user = 'ada', receivedAt = new Date()): LoginReceipt => ({
  receivedAt,
  record: newRecord(
    {
      kind: 'login.granted',
      detail: { user, session: randomUUID(), workloadUid: 'w', node: 'n', imageDigest: 'i', claimsSha256: 'c' },
    },
    receivedAt,
  ),
});

test('one head is remembered, the largest, in files that nobody else can read', async () => {
  for (const size of [3, 5, 5, 12]) await extendingMemory(memory, out, check(log.at(size)));
  expect(await memory.heads()).toEqual([log.at(12)]);
  expect(files()).toEqual(['head-0000000000000012.json']);
  expect(statSync(join(memory.folder, files()[0]!)).mode & 0o777).toBe(0o600);
  expect(statSync(memory.folder).mode & 0o777).toBe(0o700);
});

test('what was remembered before is told', async () => {
  expect((await extendingMemory(memory, out, check(log.at(3)))).before).toBeUndefined();
  expect((await extendingMemory(memory, out, check(log.at(9)))).before).toEqual(log.at(3));
});

test('two commands at once that are shown one log: the larger head stays, whoever ends first', async () => {
  await extendingMemory(memory, out, check(log.at(3)));
  for (const [first, second] of [
    [6, 8],
    [12, 10],
  ] as const) {
    let sizes = [first, Math.max(first, second)];
    await extendingMemory(memory, out, async (known, onHead) => {
      const size = sizes.shift()!;
      // While the first one asks, the second one begins and ends.
      if (sizes.length === 1) await extendingMemory(memory, out, check(log.at(second)));
      return check(log.at(size))(known, onHead);
    });
    expect(sizes).toEqual([]);
    sizes = [];
    expect(await memory.heads()).toEqual([log.at(Math.max(first, second))]);
  }
});

test.each([
  [8, 10],
  [10, 8],
  [9, 9],
])(
  'two commands at once that are shown two logs, of %i and of %i records: one of them says so, and keeps both heads',
  async (mine, others) => {
    const warning = jest.spyOn(out, 'warning').mockImplementation(() => undefined);
    await extendingMemory(memory, out, check(log.at(3)));
    let asked = 0;
    const both = extendingMemory(memory, out, async (known, onHead) => {
      if (asked++ === 0) await extendingMemory(memory, out, check(logOf('other ').at(others), logOf('other ')));
      return check(log.at(Math.max(mine, others)))(known, onHead);
    });
    await expect(both).rejects.toMatchObject({ name: 'LogError', code: 'log.forked' });
    expect(asked).toBe(2);
    const [file] = /\S+contradiction-\d+\.json$/.exec(warning.mock.calls[0]![0])!;
    const kept = JSON.parse(readFileSync(file, 'utf8')) as { before: string[]; now: string };
    expect(kept).toMatchObject({
      before: expect.arrayContaining([`signed ${others}other `]),
      now: `signed ${Math.max(mine, others)}`,
    });
  },
);

test('installations are told apart by their trust key', async () => {
  const other = await LogMemory.of({ trustKey: makeSigningKey('trust').publicKey });
  await extendingMemory(memory, out, check(log.at(9)));
  await memory.keepLogin(receipt());
  expect(await other.heads()).toEqual([]);
  expect(await other.logins()).toEqual([]);
  await extendingMemory(other, out, check(logOf('other ').at(6), logOf('other ')));
  expect(await other.forget()).toBe(true);
  expect(await memory.heads()).toEqual([log.at(9)]);
  // By the key, and not by what it is called.
  expect(await (await LogMemory.of({ trustKey: { ...trustKey, kid: 'renamed' } })).heads()).toEqual([log.at(9)]);
});

test('logins are kept in the order in which they came, at once by several commands, and are of one user when that one is forgotten', async () => {
  const receipts = Array.from({ length: 12 }, (_, at) =>
    receipt(at % 3 === 0 ? 'grace' : 'ada', new Date(1_700_000_000_000 + at)),
  );
  await Promise.all(receipts.toReversed().map((each) => memory.keepLogin(each)));
  expect(await memory.logins()).toEqual(receipts);
  writeFileSync(join(memory.folder, `login-${'9'.repeat(15)}-${'0'.repeat(16)}.json`), 'damaged');
  await memory.forgetLogins('ada');
  rmSync(join(memory.folder, `login-${'9'.repeat(15)}-${'0'.repeat(16)}.json`));
  expect(await memory.logins()).toEqual(receipts.filter((_, at) => at % 3 === 0));
  expect(statSync(join(memory.folder, files()[0]!)).mode & 0o777).toBe(0o600);
});

test('logins are bounded: the oldest make room', async () => {
  await memory.keepLogin(receipt('ada', new Date(0)));
  const [first] = files();
  for (let at = 1; at < 5_000; at++)
    writeFileSync(join(memory.folder, `login-${String(at).padStart(15, '0')}-${'0'.repeat(16)}.json`), '');
  await memory.keepLogin(receipt());
  expect(files()).toHaveLength(5_000);
  expect(existsSync(join(memory.folder, first!))).toBe(false);
});

test('files that are something else are left alone, and nothing is remembered where nothing was', async () => {
  expect([await memory.heads(), await memory.logins(), await memory.forget()]).toEqual([[], [], false]);
  await memory.keepLogin(receipt());
  for (const name of ['login-1.json.77.new', 'notes.txt', 'head-12.json'])
    writeFileSync(join(memory.folder, name), 'x');
  expect(await memory.heads()).toEqual([]);
  expect(await memory.logins()).toHaveLength(1);
});
