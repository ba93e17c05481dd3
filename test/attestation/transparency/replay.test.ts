import fc from 'fast-check';
import { Frontier } from '../../../attestation/transparency/frontier';
import { leafHash } from '../../../attestation/transparency/merkle';
import { Replay } from '../../../attestation/transparency/replay';
import type { ShownRecord } from '../../../attestation/transparency/replay';

interface Log {
  records: ShownRecord[];
  /** By size. */
  heads: Array<{ size: number; root: Buffer }>;
}

/** A log as it is stored and signed. */
function logOf(texts: readonly string[]): Log {
  const tree = new Frontier();
  const heads = [{ size: 0, root: tree.root() }];
  const records = texts.map((text, sequence) => {
    const record = Buffer.from(text, 'utf8');
    const leafSha256 = leafHash(record);
    const nodes = tree.append(leafSha256).map(({ hash }) => hash);
    heads.push({ size: tree.size, root: tree.root() });
    return { sequence, record, leafSha256, nodes };
  });
  return { records, heads };
}

const log = logOf(Array.from({ length: 13 }, (_, at) => `record ${at}`));
const head = log.heads[13]!;

function verdict(records: readonly ShownRecord[], signed = head, known: Log['heads'] = []): object | 'as signed' {
  try {
    const replay = new Replay(signed, known);
    for (const record of records) replay.add(record);
    replay.finish();
    return 'as signed';
  } catch (error) {
    const { name, code, records: about } = error as { name: string; code: string; records?: object };
    return { name, code, records: about };
  }
}

const refused = (code: string, first: number, last: number): object => ({
  name: 'LogError',
  code,
  records: { first, last },
});
const changed = (at: number, change: (record: ShownRecord) => Partial<ShownRecord>): ShownRecord[] =>
  log.records.map((record) => (record.sequence === at ? { ...record, ...change(record) } : record));
const forged = Buffer.from('forged');

test('a log that is as it was signed, of any size, and with any heads of before', () => {
  fc.assert(
    fc.property(fc.array(fc.string(), { maxLength: 40 }), fc.array(fc.nat(40)), (texts, sizes) => {
      const { records, heads } = logOf(texts);
      expect(
        verdict(
          records,
          heads[texts.length]!,
          sizes.flatMap((size) => heads[size] ?? []),
        ),
      ).toBe('as signed');
    }),
  );
});

test('a record that was changed is named, whichever', () => {
  for (const { sequence } of log.records)
    expect(verdict(changed(sequence, () => ({ record: forged })))).toEqual(
      refused('log.record_wrong', sequence, sequence),
    );
});

test('a record that was changed with its hash: the smallest subtree is named whose hash was not changed', () => {
  expect(verdict(changed(6, () => ({ record: forged, leafSha256: leafHash(forged) })))).toEqual(
    refused('log.record_wrong', 6, 7),
  );
  const both = changed(6, () => ({ record: forged, leafSha256: leafHash(forged) }));
  const pair = new Frontier();
  const nodes = [leafHash(forged), log.records[7]!.leafSha256]
    .flatMap((leaf) => pair.append(leaf))
    .map(({ hash }) => hash);
  both[7] = { ...both[7]!, nodes: [...nodes, ...both[7]!.nodes.slice(1)] };
  expect(verdict(both)).toEqual(refused('log.record_wrong', 4, 7));
  // The last one has no neighbour.
  expect(verdict(changed(12, () => ({ record: forged, leafSha256: leafHash(forged) })))).toEqual(
    refused('log.record_wrong', 0, 12),
  );
  expect(
    verdict(
      changed(12, () => ({ record: forged, leafSha256: leafHash(forged) })),
      head,
      [log.heads[11]!],
    ),
  ).toEqual(refused('log.record_wrong', 11, 12));
});

test('all of it written anew, in all tables: a head of before tells where it begins', () => {
  const other = logOf(
    log.records.map(({ sequence, record }) => (sequence < 9 ? record.toString('utf8') : `another ${sequence}`)),
  );
  expect(verdict(other.records, head)).toEqual(refused('log.record_wrong', 0, 12));
  expect(verdict(other.records, head, [log.heads[4]!, log.heads[8]!, log.heads[11]!])).toEqual(
    refused('log.record_wrong', 8, 10),
  );
  // And signed.
  expect(verdict(other.records, other.heads[13]!, [log.heads[8]!, log.heads[11]!])).toEqual(
    refused('log.forked', 8, 10),
  );
  expect(verdict(other.records, other.heads[13]!, [log.heads[9]!])).toBe('as signed');
});

test('records that are missing, at the beginning, in the middle and at the end', () => {
  for (const { sequence } of log.records)
    expect(verdict(log.records.filter((record) => record.sequence !== sequence))).toEqual(
      refused('log.record_missing', sequence, sequence),
    );
  expect(verdict(log.records.filter(({ sequence }) => sequence < 3 || sequence > 6))).toEqual(
    refused('log.record_missing', 3, 6),
  );
  expect(verdict(log.records.slice(0, 10))).toEqual(refused('log.record_missing', 10, 12));
  expect(verdict([])).toEqual(refused('log.record_missing', 0, 12));
});

test('records twice, in another order, or more than there are', () => {
  expect(verdict([...log.records.slice(0, 5), ...log.records.slice(4)])).toEqual(refused('log.record_wrong', 4, 4));
  const swapped = changed(2, () => ({ ...log.records[3]!, sequence: 2 })).map((record) =>
    record.sequence === 3 ? { ...log.records[2]!, sequence: 3 } : record,
  );
  expect(verdict(swapped)).toEqual(refused('log.record_wrong', 2, 3));
  expect(verdict(log.records, log.heads[12]!)).toEqual({
    name: 'LogError',
    code: 'log.record_wrong',
    records: undefined,
  });
});

test('a hash beside the records that was changed or removed: the records are right, and that is said', () => {
  expect(verdict(changed(5, () => ({ leafSha256: leafHash(forged) })))).toEqual(refused('log.tampered', 5, 5));
  expect(verdict(changed(7, ({ nodes }) => ({ nodes: [nodes[0]!, Buffer.alloc(0), nodes[2]!] })))).toEqual(
    refused('log.tampered', 4, 7),
  );
  expect(verdict(changed(7, () => ({ nodes: [] })))).toEqual(refused('log.tampered', 6, 7));
  // Beside one that hides nothing, a record that is wrong is what is named.
  const both = changed(10, () => ({ record: forged })).map((record) =>
    record.sequence === 1 ? { ...record, nodes: [leafHash(forged)] } : record,
  );
  expect(verdict(both, head, [log.heads[4]!])).toEqual(refused('log.record_wrong', 10, 10));
});

test('a head of before of no records that is not of the empty tree', () => {
  expect(verdict(log.records, head, [{ size: 0, root: forged }])).toMatchObject({ code: 'log.forked' });
  expect(verdict(log.records, head, [log.heads[0]!, head])).toBe('as signed');
});

test('a log that had more records before', () => {
  expect(verdict(log.records.slice(0, 5), log.heads[5]!, [log.heads[6]!])).toMatchObject({ code: 'log.rolled_back' });
});
