import { createHash } from 'node:crypto';
import { compareBoot, compareWithNearest, matchingState } from '../../../attestation/boot/compare';
import { readMeasuredBoot } from '../../../attestation/boot/measured';
import { bootStateSchema, recordBootState } from '../../../attestation/boot/state';
import { comparisonText } from '../../../attestation/boot/text';
import { EVENT_TYPE } from '../../../attestation/tpm/event-log/constants';
import { bootOf, pcrsOf } from '../../support/boot';
import { bootEvents, encodeEventLog, imageEvent } from '../../support/event-log';
import type { EventInput } from '../../support/event-log';

const code = (value: string): Error => expect.objectContaining({ name: 'BootStateError', code: value });
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const golden = recordBootState('golden', bootOf(bootEvents()));

describe('recording', () => {
  test('a state has the quoted values and the events that lead to them', () => {
    const pcrs = pcrsOf(bootEvents());
    expect(golden.pcrs).toEqual(
      Object.fromEntries(pcrs.map(({ index, sha256 }) => [String(index), sha256.toString('hex')])),
    );
    expect(golden.events).toHaveLength(bootEvents().filter(({ pcr }) => pcr < 8).length);
    expect(golden.events?.[0]).toMatchObject({ pcr: 0, type: 'EV_S_CRTM_VERSION', description: 'firmware 1.2' });
    expect(bootStateSchema.parse(JSON.parse(JSON.stringify(golden)))).toEqual(golden);
  });

  test('without a log it has values alone', () => {
    const state = recordBootState('plain', readMeasuredBoot(pcrsOf(bootEvents()), undefined));
    expect(state).toEqual({ name: 'plain', pcrs: golden.pcrs });
  });

  test('PCRs that change by themselves can be left out', () => {
    const state = recordBootState('some', bootOf(bootEvents()), [7, 4]);
    expect(Object.keys(state.pcrs)).toEqual(['4', '7']);
    expect(new Set(state.events?.map(({ pcr }) => pcr))).toEqual(new Set([4, 7]));
    expect(
      matchingState(
        [state],
        bootOf([...bootEvents(), { pcr: 1, type: EVENT_TYPE.EV_ACTION, data: Buffer.from('new drive') }]),
      ),
    ).toBe(state);
    expect(() => recordBootState('none', bootOf(bootEvents()), [])).toThrow(code('boot_state.no_pcrs'));
    expect(() => recordBootState('far', bootOf(bootEvents()), [23])).toThrow(code('boot_state.no_pcrs'));
  });

  test("a log that tells another story, or can't be read, makes no state", () => {
    const lying = bootOf(bootEvents({ loader: 'evil' }), bootEvents());
    expect(lying.contradicted).toEqual([4]);
    expect(() => recordBootState('lie', lying)).toThrow(code('boot_state.contradicted'));
    expect(() => recordBootState('rest', lying, [0, 7])).not.toThrow();
    expect(() => recordBootState('junk', readMeasuredBoot(pcrsOf(bootEvents()), Buffer.from('junk')))).toThrow(
      code('boot_state.contradicted'),
    );
    expect(() => recordBootState('two\nlines', bootOf(bootEvents()))).toThrow(code('boot_state.malformed'));
  });
});

describe('comparing', () => {
  test('the same boot matches, one that differs in any PCR does not', () => {
    expect(matchingState([golden], bootOf(bootEvents()))).toBe(golden);
    for (let pcr = 0; pcr < 8; pcr++) {
      const other = bootOf([...bootEvents(), { pcr, type: EVENT_TYPE.EV_ACTION, data: Buffer.from('one more') }]);
      expect(matchingState([golden], other)).toBeUndefined();
      expect(compareBoot(golden, other)).toMatchObject({
        differences: [{ pcr, cause: { expected: undefined, got: { description: 'one more' } } }],
        first: { pcr },
      });
    }
  });

  test('a PCR that the evidence lacks is no match', () => {
    expect(matchingState([golden], readMeasuredBoot([], undefined))).toBeUndefined();
  });

  test.each<[string, EventInput[], string]>([
    [
      'Secure Boot turned off',
      bootEvents({ secureBoot: false }),
      'PCR 7 differs by event 2: EV_EFI_VARIABLE_DRIVER_CONFIG SecureBoot = 00, expected EV_EFI_VARIABLE_DRIVER_CONFIG SecureBoot = 01',
    ],
    [
      'another program under the same path',
      bootEvents({ loader: 'evil' }),
      `PCR 4 differs by event 15: EV_EFI_BOOT_SERVICES_APPLICATION partition 1 \\EFI\\debian\\grubx64.efi, whose content has digest ${sha256('evil')}, expected ${sha256('grub 2.12')}`,
    ],
    [
      'an event that is missing',
      bootEvents().slice(0, -1),
      'PCR 5 differs by a missing event: EV_EFI_ACTION Exit Boot Services Returned with Success',
    ],
    ['another locality', bootEvents({ locality: 3 }), 'PCR 0 differs by what is unknown'],
  ])('%s is named', (_, events, text) => {
    const comparison = compareBoot(golden, bootOf(events));
    expect(comparison.differences).toHaveLength(1);
    expect(comparisonText(comparison)).toContain(text);
  });

  test('of several PCRs the one that the machine measured first is named', () => {
    const events = bootEvents({ secureBoot: false, loader: 'evil' });
    const comparison = compareBoot(golden, bootOf(events));
    expect(comparison.differences.map(({ pcr }) => pcr)).toEqual([4, 7]);
    expect(comparisonText(comparison)).toMatch(/^PCRs 4, 7 differ, PCR 7 first by event 2: .*SecureBoot = 00/);
  });

  test('a log that does not lead to the quoted value explains nothing', () => {
    // The machine ran another loader; its log pretends that only the name of the next one changed.
    const told = [...bootEvents(), imageEvent('\\harmless.efi', Buffer.from('harmless'))];
    const comparison = compareBoot(golden, bootOf(bootEvents({ loader: 'evil' }), told));
    expect(comparison.differences).toMatchObject([{ pcr: 4, cause: undefined }]);
    expect(comparisonText(comparison)).not.toContain('harmless');
  });

  test('without a log the values are compared, and no cause is invented', () => {
    const comparison = compareBoot(golden, readMeasuredBoot(pcrsOf(bootEvents({ secureBoot: false })), undefined));
    expect(comparisonText(comparison)).toBe(
      'PCR 7 differs by what is unknown: that takes an event log of both boots which leads to these values',
    );
  });

  test('of several golden states the nearest is compared', () => {
    const far = recordBootState('far', bootOf([]));
    expect(compareWithNearest([far, golden], bootOf(bootEvents({ secureBoot: false })))?.state).toBe('golden');
    expect(compareWithNearest([], bootOf(bootEvents()))).toBeUndefined();
  });
});

test.each<[string, object]>([
  ['no PCR', { name: 'a', pcrs: {} }],
  ['a PCR that is no boot measurement', { name: 'a', pcrs: { 23: 'ab'.repeat(32) } }],
  ['a short value', { name: 'a', pcrs: { 0: 'ab' } }],
  ['an unknown field', { name: 'a', pcrs: { 0: 'ab'.repeat(32) }, extra: 1 }],
  [
    'a description with control characters',
    {
      name: 'a',
      pcrs: { 0: 'ab'.repeat(32) },
      events: [{ pcr: 0, type: 'EV', sha256: 'ab'.repeat(32), description: '\x1b[2J' }],
    },
  ],
])('a golden state with %s is refused', (_, state) => {
  expect(bootStateSchema.safeParse(state).success).toBe(false);
});

test('a log over the cap is unreadable, whatever is in it', () => {
  const events = Array.from({ length: 9 }, (): EventInput => ({
    pcr: 0,
    type: EVENT_TYPE.EV_ACTION,
    data: Buffer.alloc(60_000),
  }));
  const boot = readMeasuredBoot(pcrsOf([]), encodeEventLog(events));
  expect(boot.unreadable).toMatchObject({ code: 'event_log.too_large' });
  expect(boot.events.size).toBe(0);
});
