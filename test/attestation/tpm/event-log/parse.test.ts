import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { TPM_ALG } from '../../../../attestation/tpm/constants';
import { MAX_EVENT_LOG_BYTES, EVENT_TYPE } from '../../../../attestation/tpm/event-log/constants';
import { describeEvent } from '../../../../attestation/tpm/event-log/describe';
import { EventLogError } from '../../../../attestation/tpm/event-log/errors';
import { parseEventLog, readEventLog } from '../../../../attestation/tpm/event-log/parse';
import { replayEventLog } from '../../../../attestation/tpm/event-log/replay';
import type { ReplayedPcr } from '../../../../attestation/tpm/event-log/replay';
import {
  bootEvents,
  digestOf,
  encodeEventLog,
  encodeSha1Event,
  startupLocalityEvent,
  u32le,
} from '../../../support/event-log';
import type { EventInput } from '../../../support/event-log';

const code = (value: string): Error => expect.objectContaining({ name: 'EventLogError', code: value });
const values = (replayed: readonly ReplayedPcr[]): string[] => replayed.map(({ value }) => value.toString('hex'));

test('a log is read event by event, in any banks beside SHA-256', () => {
  const algorithms = [
    { id: TPM_ALG.SHA384, size: 48 },
    { id: TPM_ALG.SHA256, size: 32 },
  ];
  const inputs = bootEvents();
  const log = parseEventLog(encodeEventLog(inputs, { algorithms, vendorInfo: Buffer.from('vendor') }));
  expect(log.algorithms).toEqual([TPM_ALG.SHA384, TPM_ALG.SHA256]);
  expect(log.events).toHaveLength(inputs.length);
  log.events.forEach((event, at) => {
    const input = inputs[at] as EventInput;
    expect(event).toEqual({
      index: at + 1,
      pcr: input.pcr,
      type: input.type,
      data: input.data,
      sha256: digestOf(TPM_ALG.SHA256, input),
    });
  });
});

test('a log of digests by an algorithm that nobody here knows is read by the size that it gives', () => {
  const algorithms = [
    { id: 0x7777, size: 40 },
    { id: TPM_ALG.SHA256, size: 32 },
  ];
  const digests = (event: EventInput): [number, Buffer][] => [
    [TPM_ALG.SHA256, digestOf(TPM_ALG.SHA256, event)],
    [0x7777, Buffer.alloc(40)],
  ];
  expect(parseEventLog(encodeEventLog(bootEvents(), { algorithms, digests })).events).toHaveLength(bootEvents().length);
});

test('the old form with SHA-1 alone is named, and so is a log without SHA-256', () => {
  const old = Buffer.concat(bootEvents().map(encodeSha1Event));
  expect(() => parseEventLog(old)).toThrowWithCode('event_log.sha1_only', { name: 'EventLogError' });
  expect(() => parseEventLog(encodeEventLog([], { signature: 'Spec ID Event02' }))).toThrowWithCode(
    'event_log.sha1_only',
    { name: 'EventLogError' },
  );
  expect(() => parseEventLog(encodeEventLog([], { headerType: EVENT_TYPE.EV_ACTION }))).toThrowWithCode(
    'event_log.sha1_only',
    { name: 'EventLogError' },
  );
  const firstOf = (headerPcr: number): Buffer => encodeEventLog([], { headerType: EVENT_TYPE.EV_ACTION, headerPcr });
  expect(() => parseEventLog(firstOf(23))).toThrowWithCode('event_log.sha1_only');
  // No log in the old form either: there are no more PCRs.
  for (const pcr of [24, 99])
    expect(() => parseEventLog(firstOf(pcr))).toThrowWithCode('event_log.malformed', { name: 'EventLogError' });
  expect(() => parseEventLog(encodeEventLog([], { algorithms: [{ id: TPM_ALG.SHA1, size: 20 }] }))).toThrowWithCode(
    'event_log.no_sha256',
    { name: 'EventLogError' },
  );
});

test('a log that ends inside an event, is too large, or announces what no machine has: a typed error', () => {
  const good = encodeEventLog(bootEvents());
  const ends = new Set<number>([0]);
  for (let length = 0; length < good.length; length++) {
    try {
      parseEventLog(good.subarray(0, length));
      ends.add(length);
    } catch (error) {
      expect(error).toEqual(code('event_log.truncated'));
    }
  }
  // Between two events a shorter log is a log too: what is missing shows in the replay.
  expect(ends.size - 1).toBe(bootEvents().length);
  expect(() => parseEventLog(Buffer.alloc(MAX_EVENT_LOG_BYTES + 1))).toThrowWithCode('event_log.too_large', {
    name: 'EventLogError',
  });
  expect(() => parseEventLog(Buffer.concat([good, Buffer.alloc(64, 0xff)]))).toThrow(EventLogError);

  const sha256 = { id: TPM_ALG.SHA256, size: 32 };
  const algorithms = (...list: { id: number; size: number }[]): Buffer => encodeEventLog([], { algorithms: list });
  for (const bad of [
    algorithms(),
    algorithms(sha256, sha256),
    algorithms({ id: TPM_ALG.SHA256, size: 20 }),
    algorithms(sha256, { id: 0x7777, size: 129 }),
  ]) {
    expect(() => parseEventLog(bad)).toThrowWithCode('event_log.malformed', { name: 'EventLogError' });
  }
  expect(() =>
    parseEventLog(algorithms(...Array.from({ length: 17 }, (_, at) => ({ id: 0x7000 + at, size: 1 })))),
  ).toThrowWithCode('event_log.malformed', { name: 'EventLogError' });
  expect(() => parseEventLog(algorithms(sha256, { id: 0x7777, size: 0 }))).toThrowWithCode('event_log.malformed');
  expect(() =>
    parseEventLog(encodeEventLog([{ pcr: 24, type: EVENT_TYPE.EV_ACTION, data: Buffer.alloc(0) }])),
  ).toThrowWithCode('event_log.malformed', { name: 'EventLogError' });
});

test('what is just within the bounds is read: sixteen algorithms, digests of 1 and 128 bytes, a log of the largest size', () => {
  const unknown = (at: number): { id: number; size: number } => ({ id: 0x7000 + at, size: at === 0 ? 1 : 128 });
  const algorithms = [{ id: TPM_ALG.SHA256, size: 32 }, ...Array.from({ length: 15 }, (_, at) => unknown(at))];
  expect(parseEventLog(encodeEventLog([], { algorithms })).algorithms).toHaveLength(16);
  const event = (length: number): EventInput => ({ pcr: 0, type: EVENT_TYPE.EV_ACTION, data: Buffer.alloc(length) });
  const largest = encodeEventLog([event(MAX_EVENT_LOG_BYTES - encodeEventLog([event(0)]).length)]);
  expect(largest).toHaveLength(MAX_EVENT_LOG_BYTES);
  expect(parseEventLog(largest).events).toHaveLength(1);
});

test('a note in the log may name any PCR: it extends none', () => {
  const note = { pcr: 0xffffffff, type: EVENT_TYPE.EV_NO_ACTION, data: Buffer.from('note') };
  const log = parseEventLog(encodeEventLog([...bootEvents(), note]));
  expect(log.events.at(-1)).toMatchObject({ pcr: 0xffffffff, data: note.data });
  expect(replayEventLog(log)).toEqual(replayEventLog(parseEventLog(encodeEventLog(bootEvents()))));
});

const ACTION: EventInput = { pcr: 0, type: EVENT_TYPE.EV_ACTION, data: Buffer.from('x') };
const ONE: [number, Buffer] = [TPM_ALG.SHA256, Buffer.alloc(32, 1)];
const SHA1: [number, Buffer] = [TPM_ALG.SHA1, Buffer.alloc(20)];

test('two answers for one bank, one that was not announced: no answer', () => {
  const other: [number, Buffer] = [TPM_ALG.SHA256, Buffer.alloc(32, 2)];
  const sha384: [number, Buffer] = [TPM_ALG.SHA384, Buffer.alloc(48)];
  for (const digests of [
    [ONE, other],
    [ONE, sha384],
    [ONE, SHA1, SHA1],
  ]) {
    expect(() => parseEventLog(encodeEventLog([ACTION], { digests: () => digests }))).toThrowWithCode(
      'event_log.malformed',
      { name: 'EventLogError' },
    );
  }
});

test('an event with fewer digests than the header lists counts for the banks that it has', () => {
  const second = { ...ACTION, data: Buffer.from('SHA-1 alone') };
  const digests = (event: EventInput): [number, Buffer][] => (event === second ? [SHA1] : [ONE]);
  const log = parseEventLog(encodeEventLog([ACTION, second, ACTION], { digests }));
  expect(log.events.map(({ sha256 }) => sha256)).toEqual([ONE[1], undefined, ONE[1]]);
  const replayed = replayEventLog(log);
  expect(replayed[0]).toEqual({
    value: replayEventLog(parseEventLog(encodeEventLog([ACTION, ACTION], { digests })))[0]?.value,
    withoutDigest: 2,
  });
  expect(replayed[1]).toEqual({ value: Buffer.alloc(32) });
  expect(describeEvent(log.events[1]!)).toEqual({ type: 'EV_ACTION', text: 'SHA-1 alone', measured: false });
  expect(parseEventLog(encodeEventLog([ACTION], { digests: () => [] })).events[0]?.sha256).toBeUndefined();
});

test("a Spec ID event's vendor data may be shorter or longer than it says, or missing", () => {
  for (const vendorData of [
    Buffer.alloc(0),
    Buffer.from([0]),
    Buffer.from([4, 1]),
    Buffer.from([1, 2, 3]),
    Buffer.from([255]),
  ]) {
    const log = parseEventLog(encodeEventLog(bootEvents(), { vendorData }));
    expect(log.events).toHaveLength(bootEvents().length);
  }
});

test('what was read before an event that makes no sense is kept, with the reason', () => {
  const whole = encodeEventLog(bootEvents());
  const { log, error } = readEventLog(whole.subarray(0, whole.length - 1));
  expect(error).toEqual(code('event_log.truncated'));
  expect(log.events).toEqual(parseEventLog(whole).events.slice(0, -1));
  expect(readEventLog(whole)).toEqual({ log: parseEventLog(whole) });
  expect(readEventLog(Buffer.from('junk'))).toEqual({
    log: { algorithms: [], events: [] },
    error: code('event_log.truncated'),
  });
});

test('PCR 0 starts with the locality of TPM2_Startup, and nothing else does', () => {
  const replay = (events: EventInput[]): string[] => values(replayEventLog(parseEventLog(encodeEventLog(events))));
  const zeros = '00'.repeat(31);
  expect(replay([])).toEqual(Array.from({ length: 16 }, () => `${zeros}00`));
  expect(replay([startupLocalityEvent(3)]).slice(0, 2)).toEqual([`${zeros}03`, `${zeros}00`]);
  expect(replay([startupLocalityEvent(4)])[0]).toBe(`${zeros}04`);
  expect(replay([{ ...startupLocalityEvent(3), pcr: 1 }])[0]).toBe(`${zeros}00`);
  // Other PCRs may be extended before it is said.
  const separator = { pcr: 7, type: EVENT_TYPE.EV_SEPARATOR, data: Buffer.alloc(4) };
  expect(replay([separator, startupLocalityEvent(3)])[0]).toBe(`${zeros}03`);
  const extend = bootEvents();
  for (const bad of [
    [startupLocalityEvent(1)],
    [startupLocalityEvent(3), startupLocalityEvent(3)],
    [...extend, startupLocalityEvent(3)],
  ]) {
    expect(() => replay(bad)).toThrowWithCode('event_log.malformed', { name: 'EventLogError' });
  }
  for (const data of [Buffer.from('StartupLocality\0'), Buffer.from('StartupLocality\0\x03\0')]) {
    expect(() => replay([{ ...startupLocalityEvent(3), data }])).toThrowWithCode('event_log.malformed', {
      name: 'EventLogError',
    });
  }
  // Another note says nothing of it, and what extends the PCR is no note.
  const note = { pcr: 0, type: EVENT_TYPE.EV_NO_ACTION, data: Buffer.from('SP800-155 Event\0') };
  expect(replay([note, startupLocalityEvent(3)])[0]).toBe(`${zeros}03`);
  const action = { ...startupLocalityEvent(3), type: EVENT_TYPE.EV_ACTION };
  expect(replay([action])).toEqual(replay([{ ...action, type: EVENT_TYPE.EV_POST_CODE }]));
});

describe('against tpm2_eventlog', () => {
  let folder: string;
  beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'sls-event-log-'))));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  function theirs(log: Buffer): Map<number, string> {
    const file = join(folder, 'log');
    writeFileSync(file, log);
    const text = execFileSync('tpm2_eventlog', [file], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    const bank =
      /\n {2}sha256:\n((?: {4}\d+ *: 0x[0-9a-f]+\n?)+)/.exec(text.slice(text.lastIndexOf('pcrs:')))?.[1] ?? '';
    return new Map(
      [...bank.matchAll(/(\d+) *: 0x([0-9a-f]+)/g)].map((match) => [Number(match[1]), match[2] as string]),
    );
  }

  test.each([
    ['a boot', bootEvents()],
    ['another boot', bootEvents({ secureBoot: false, loader: 'another loader' })],
  ])('the replay of %s gives the same PCRs', (_, events) => {
    const log = encodeEventLog(events);
    const ours = values(replayEventLog(parseEventLog(log)));
    const expected = theirs(log);
    expect([...expected.keys()].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]);
    for (const [pcr, value] of expected) expect({ pcr, value: ours[pcr] }).toEqual({ pcr, value });
  });

  test('of any events, with any of their digests left out, the same PCRs', () => {
    const event = fc.record({
      pcr: fc.constantFrom(0, 4, 7, 8, 9, 11, 14),
      type: fc.constantFrom(EVENT_TYPE.EV_IPL, EVENT_TYPE.EV_EFI_ACTION),
      data: fc.uint8Array({ minLength: 1, maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
      banks: fc.constantFrom([TPM_ALG.SHA1, TPM_ALG.SHA256], [TPM_ALG.SHA256], [TPM_ALG.SHA1]),
    });
    fc.assert(
      fc.property(fc.array(event, { minLength: 1, maxLength: 12 }), (events) => {
        const digests = (input: EventInput): [number, Buffer][] =>
          (events.find((one) => one === input)?.banks ?? []).map((id) => [id, digestOf(id, input)]);
        const log = encodeEventLog(events, { digests });
        const ours = values(replayEventLog(parseEventLog(log)));
        for (const [pcr, value] of theirs(log)) expect({ pcr, value: ours[pcr] }).toEqual({ pcr, value });
      }),
      { numRuns: 40 },
    );
  });
});

describe('hostile logs', () => {
  const good = encodeEventLog([startupLocalityEvent(3), ...bootEvents()]);

  function readAll(bytes: Uint8Array): void {
    const { log } = readEventLog(bytes);
    expect(log.events.reduce((sum, { data }) => sum + data.length, 0)).toBeLessThanOrEqual(bytes.length);
    log.events.forEach(describeEvent);
    try {
      parseEventLog(bytes);
      replayEventLog(log);
    } catch (error) {
      if (!(error instanceof EventLogError)) throw error;
    }
  }

  test('random changes of a good log give a log no larger than its bytes, or a typed error', () => {
    const change = fc.record({
      at: fc.nat(good.length - 1),
      value: fc.integer({ min: 0, max: 255 }),
      cut: fc.nat(good.length),
    });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), (changes) => {
        const bytes = Buffer.from(good);
        for (const { at, value } of changes) bytes[at] = value;
        readAll(bytes);
        readAll(bytes.subarray(0, changes[0]?.cut));
      }),
      { numRuns: 2_000 },
    );
  });

  test('lengths of four thousand million cost nothing', () => {
    const huge = u32le(0xffffffff);
    for (let at = 0; at + 4 <= good.length; at++)
      readAll(Buffer.concat([good.subarray(0, at), huge, good.subarray(at + 4)]));
  });

  test('event data of any bytes under every type is described', () => {
    fc.assert(
      fc.property(fc.constantFrom(...Object.values(EVENT_TYPE)), fc.uint8Array({ maxLength: 200 }), (type, data) => {
        const described = describeEvent({
          index: 1,
          pcr: type % 16,
          type,
          sha256: Buffer.alloc(32),
          data: Buffer.from(data),
        });
        expect(described.text).toMatch(/^[\x20-\x7e]{0,2100}$/);
      }),
      { numRuns: 2_000 },
    );
  });

  test('any bytes at all', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), readAll), { numRuns: 500 });
  });
});
