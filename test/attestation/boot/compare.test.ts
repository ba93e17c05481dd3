import { createHash } from 'node:crypto';
import { compareBoot, compareWithNearest, matchingState } from '../../../attestation/boot/compare';
import { readMeasuredBoot } from '../../../attestation/boot/measured';
import { bootStateSchema, recordBootState, recordedPcrs } from '../../../attestation/boot/state';
import { comparisonText } from '../../../attestation/boot/text';
import { TPM_ALG } from '../../../attestation/tpm/constants';
import { extendPcr } from '../../../attestation/tpm/pcr';
import { EVENT_TYPE } from '../../../attestation/tpm/event-log/constants';
import { bootOf, pcrsOf } from '../../support/boot';
import {
  bootEvents,
  digestOf,
  encodeEventLog,
  fileEvent,
  imageEvent,
  startupLocalityEvent,
} from '../../support/event-log';
import type { EventInput } from '../../support/event-log';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const onceExtended = (data: Buffer): Buffer => extendPcr(Buffer.alloc(32), createHash('sha256').update(data).digest());
const golden = recordBootState('golden', bootOf(bootEvents()));

describe('recording', () => {
  test('a state has the quoted values and the events that lead to them', () => {
    const pcrs = pcrsOf(bootEvents()).filter(({ index }) => index < 10 || index === 14);
    expect(golden.pcrs).toEqual(
      Object.fromEntries(pcrs.map(({ index, sha256 }) => [String(index), sha256.toString('hex')])),
    );
    expect(golden.events).toHaveLength(bootEvents().length);
    expect(golden.events?.[0]).toMatchObject({ pcr: 0, type: 'EV_S_CRTM_VERSION', description: 'firmware 1.2' });
    expect(bootStateSchema.parse(JSON.parse(JSON.stringify(golden)))).toEqual(golden);
  });

  test('without a log it has values alone', () => {
    for (const log of [undefined, Buffer.alloc(0)]) {
      const state = recordBootState('plain', readMeasuredBoot(pcrsOf(bootEvents()), log));
      expect(state).toEqual({ name: 'plain', pcrs: golden.pcrs });
      // Which event makes a difference is known of two logs alone.
      expect(compareBoot(state, bootOf(bootEvents({ secureBoot: false })))).toMatchObject({
        differences: [{ pcr: 7, cause: undefined }],
      });
    }
  });

  test('a PCR that the log has events of is demanded, and the application PCR never', () => {
    const volumeKey = { pcr: 15, type: EVENT_TYPE.EV_EVENT_TAG, data: Buffer.from('key') };
    const boot = bootOf([...bootEvents(), volumeKey]);
    expect(recordedPcrs(boot)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 15]);
    const quoted = readMeasuredBoot([...pcrsOf(bootEvents()), { index: 23, sha256: Buffer.alloc(32, 1) }], undefined);
    expect(quoted.pcrs.has(23)).toBe(false);
    expect(() => recordBootState('root', quoted, [7, 23])).toThrowWithCode('boot_state.no_pcrs');
  });

  test('what GRUB, systemd-stub and shim measured is demanded, whether the log tells of it or not; what comes later is not', () => {
    const later = pcrsOf(bootEvents()).map(({ index, sha256 }) => ({
      index,
      // IMA, systemd-stub with systemd-pcrphase, and systemd's volume keys.
      sha256: [10, 11, 15].includes(index) ? Buffer.alloc(32, index) : sha256,
    }));
    const kernelHidden = bootEvents().filter(({ pcr }) => pcr < 8);
    for (const log of [bootEvents(), kernelHidden]) {
      const boot = readMeasuredBoot(later, encodeEventLog(log));
      expect(recordedPcrs(boot)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 14]);
      expect(boot.contradicted).toEqual([]);
    }
    expect(readMeasuredBoot(later, encodeEventLog(bootEvents())).extendedLater).toEqual([10, 11, 15]);
    const state = recordBootState('later', readMeasuredBoot(later, encodeEventLog(bootEvents())));
    expect(state.events?.some(({ pcr }) => pcr === 11)).toBe(false);
    // What differs is known, and by what isn't: nothing is made up of a log that begins where the state has no events.
    const other = readMeasuredBoot(
      later.map((pcr) => (pcr.index === 11 ? { ...pcr, sha256: onceExtended(Buffer.from('.linux')) } : pcr)),
      encodeEventLog([...bootEvents(), { pcr: 11, type: EVENT_TYPE.EV_IPL, data: Buffer.from('.linux') }]),
    );
    expect(other.events.get(11)).toHaveLength(1);
    expect(compareBoot(state, other)).toMatchObject({ differences: [{ pcr: 11, cause: undefined }] });
  });

  test("evidence of release 0.1's attestors quotes PCRs 0 to 7, and a state of it demands no more", () => {
    const early = pcrsOf(bootEvents()).slice(0, 8);
    const state = recordBootState('early', readMeasuredBoot(early, encodeEventLog(bootEvents())));
    expect(Object.keys(state.pcrs)).toHaveLength(8);
    expect(matchingState([golden], readMeasuredBoot(early, encodeEventLog(bootEvents())))).toBeUndefined();
    expect(() => recordBootState('far', readMeasuredBoot(early, undefined), [8])).toThrowWithCode('boot_state.no_pcrs');
    // What isn't quoted differs from nothing.
    expect(readMeasuredBoot(early, encodeEventLog(bootEvents()))).toMatchObject({
      contradicted: [],
      extendedLater: [],
    });
  });

  test('an event without a SHA-256 digest counts for nothing here: it is to blame where the log leads elsewhere', () => {
    const events = bootEvents();
    const at = events.findIndex(({ pcr }) => pcr === 4);
    const log = encodeEventLog(events, {
      digests: (event) =>
        event === events[at]
          ? [[TPM_ALG.SHA1, Buffer.alloc(20)]]
          : [TPM_ALG.SHA1, TPM_ALG.SHA256].map((id) => [id, digestOf(id, event)]),
    });
    // A machine that didn't extend the SHA-256 bank by it, and one that did.
    const without = readMeasuredBoot(pcrsOf(events.filter((_, index) => index !== at)), log);
    expect(without).toMatchObject({ contradicted: [], withoutDigest: new Map() });
    const boot = readMeasuredBoot(pcrsOf(events), log);
    expect(boot).toMatchObject({ contradicted: [4], withoutDigest: new Map([[4, at + 1]]) });
    const unquoted = pcrsOf(events).filter(({ index }) => index !== 4);
    expect(readMeasuredBoot(unquoted, log).withoutDigest).toEqual(new Map());
    expect(() => recordBootState('x', boot)).toThrow(
      expect.objectContaining({ message: expect.stringContaining(`event ${at + 1} has no SHA-256 digest for PCR 4`) }),
    );
    expect(recordBootState('x', boot, [7, 8]).events).toHaveLength(
      events.filter(({ pcr }) => pcr === 7 || pcr === 8).length,
    );
    const comparison = compareBoot(recordBootState('old', bootOf(bootEvents({ loader: 'old' }))), boot);
    expect(comparisonText(comparison)).toBe(
      `PCR 4 differs by what is unknown: event ${at + 1} has no SHA-256 digest, and the log without it doesn't lead to this value`,
    );
  });

  test('a log that breaks off is believed of the PCRs that it leads to', () => {
    const log = encodeEventLog(bootEvents());
    const boot = readMeasuredBoot(pcrsOf(bootEvents()), log.subarray(0, log.length - 1));
    expect(boot).toMatchObject({ contradicted: [5], unreadable: { code: 'event_log.truncated' } });
    expect(boot.events.get(7)).toHaveLength(bootEvents().filter(({ pcr }) => pcr === 7).length);
    expect(() => recordBootState('rest', boot, [0, 7, 8])).not.toThrow();
    expect(() => recordBootState('all', boot)).toThrow(
      expect.objectContaining({
        code: 'boot_state.contradicted',
        message: expect.stringContaining(boot.unreadable!.message),
      }),
    );
    // A start-up locality that is none says nothing about the other PCRs.
    const locality = readMeasuredBoot(pcrsOf(bootEvents()), encodeEventLog([startupLocalityEvent(1), ...bootEvents()]));
    expect(locality).toMatchObject({ contradicted: [], unreadable: { code: 'event_log.malformed' } });
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
    expect(() => recordBootState('none', bootOf(bootEvents()), [])).toThrowWithCode('boot_state.no_pcrs');
    expect(() => recordBootState('far', bootOf(bootEvents()), [23])).toThrowWithCode('boot_state.no_pcrs');
  });

  test("a log that tells another story, or can't be read, makes no state", () => {
    const lying = bootOf(bootEvents({ loader: 'evil' }), bootEvents());
    expect(lying).toMatchObject({ contradicted: [4], withoutDigest: new Map() });
    expect(() => recordBootState('lie', lying)).toThrowWithCode('boot_state.contradicted');
    expect(() => recordBootState('rest', lying, [0, 7])).not.toThrow();
    expect(() => recordBootState('junk', readMeasuredBoot(pcrsOf(bootEvents()), Buffer.from('junk')))).toThrowWithCode(
      'boot_state.contradicted',
    );
    expect(() => recordBootState('two\nlines', bootOf(bootEvents()))).toThrowWithCode('boot_state.malformed');
  });
});

describe('comparing', () => {
  test('the same boot matches, one that differs in any PCR does not', () => {
    expect(matchingState([golden], bootOf(bootEvents()))).toBe(golden);
    for (const pcr of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]) {
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
    [
      'another kernel command line',
      bootEvents({ commandLine: 'root=/dev/vda2 ro init=/bin/sh' }),
      'PCR 8 differs by event 17: EV_IPL GRUB command: linux /vmlinuz root=/dev/vda2 ro init=/bin/sh, expected EV_IPL GRUB command: linux /vmlinuz root=/dev/vda2 ro quiet; the kernel command line has init=/bin/sh and lacks quiet',
    ],
    [
      'the same words in another order',
      bootEvents({ commandLine: 'ro quiet root=/dev/vda2' }),
      'the kernel command line has its words in another order',
    ],
    [
      'another initrd',
      bootEvents({ initrd: 'evil' }),
      `PCR 9 differs by event 21: EV_IPL /initrd.img, whose content has digest ${sha256('evil')}, expected ${sha256('initrd 6.1')}`,
    ],
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

  test('of an unknown difference and a missing event, the event is named; of two missing ones, that of the lower PCR', () => {
    const events = bootEvents({ locality: 3 }).slice(0, -1);
    const comparison = compareBoot(golden, bootOf(events));
    expect(comparisonText(comparison)).toMatch(/^PCRs 0, 5 differ, PCR 5 first by a missing event: EV_EFI_ACTION Exit/);
    const shorter = bootEvents().filter(({ pcr }) => pcr !== 14);
    expect(comparisonText(compareBoot(golden, bootOf(shorter.slice(0, -1))))).toMatch(
      /^PCRs 5, 14 differ, PCR 5 first by a missing event/,
    );
  });

  test('where grub.cfg was changed, which GRUB reads before it runs it, the command line is told all the same', () => {
    const boot = (commandLine: string): EventInput[] => [
      fileEvent(9, '/EFI/debian/grub.cfg', `linux /vmlinuz ${commandLine}`),
      ...bootEvents({ commandLine }),
    ];
    const comparison = compareBoot(recordBootState('a', bootOf(boot('ro'))), bootOf(boot('ro init=/bin/sh')));
    expect(comparisonText(comparison)).toMatch(
      /^PCRs 8, 9 differ, PCR 9 first by event 1: EV_IPL \/EFI\/debian\/grub\.cfg, whose content .*; the kernel command line has init=\/bin\/sh$/,
    );
  });

  test('the command line is told once, whatever else differs', () => {
    const told = (events: EventInput[], before = golden): string => comparisonText(compareBoot(before, bootOf(events)));
    const commandLine = 'root=/dev/vda2 ro quiet init=/bin/sh';
    expect(told(bootEvents({ commandLine, initrd: 'evil' }))).toMatch(
      /^PCRs 8, 9 differ, PCR 8 first by event 17: [^;]*; the kernel command line has init=\/bin\/sh$/,
    );
    expect(told(bootEvents({ commandLine, loader: 'evil' }))).toMatch(
      /^PCRs 4, 8 differ, PCR 4 first by event 15: [^;]*; the kernel command line has init=\/bin\/sh$/,
    );
    const none = bootEvents().filter(({ data }) => !data.toString().startsWith('kernel_cmdline'));
    expect(told(none)).toMatch(/; the kernel command line lacks \/vmlinuz root=\/dev\/vda2 ro quiet$/);
    expect(told(bootEvents(), recordBootState('none', bootOf(none)))).toMatch(
      /; the kernel command line has \/vmlinuz root=\/dev\/vda2 ro quiet$/,
    );
    // GRUB's other commands differ, the kernel's command line doesn't.
    const echo = { ...bootEvents()[16]!, data: Buffer.from('grub_cmd: echo\0'), measured: Buffer.from('echo') };
    expect(told([...bootEvents(), echo])).toMatch(/EV_IPL GRUB command: echo, where nothing more was expected$/);
  });

  test('an event more in a PCR into which nothing was measured is named', () => {
    const state = recordBootState('stub', bootOf(bootEvents()), [8, 12]);
    const boot = bootOf([...bootEvents(), { pcr: 12, type: EVENT_TYPE.EV_IPL, data: Buffer.from('init=/bin/sh') }]);
    expect(comparisonText(compareBoot(state, boot))).toBe(
      'PCR 12 differs by event 23: EV_IPL kernel command line: init=/bin/sh, where nothing more was expected; the kernel command line has init=/bin/sh',
    );
  });

  test('an event of another type with the same text is told with both types', () => {
    const action = (type: number, measured: string): EventInput[] => [
      ...bootEvents(),
      { pcr: 4, type, data: Buffer.from('Start'), measured: Buffer.from(measured) },
    ];
    const state = recordBootState('typed', bootOf(action(EVENT_TYPE.EV_ACTION, 'Start')));
    const text = comparisonText(compareBoot(state, bootOf(action(EVENT_TYPE.EV_EFI_ACTION, 'other'))));
    expect(text).toMatch(
      /^PCR 4 differs by event 23: EV_EFI_ACTION Start \(so the log says.*, expected EV_ACTION Start$/,
    );
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
    // Of two that are as near, the one that the operator has first.
    const twin = { ...golden, name: 'twin' };
    expect(compareWithNearest([golden, twin], bootOf(bootEvents({ secureBoot: false })))?.state).toBe('golden');
    expect(comparisonText(compareBoot(golden, bootOf(bootEvents())))).toBe('no PCR differs');
    expect(compareWithNearest([], bootOf(bootEvents()))).toBeUndefined();
  });
});

test('a log over the cap is unreadable, whatever is in it', () => {
  const events = Array.from({ length: 9 }, (): EventInput => ({
    pcr: 0,
    type: EVENT_TYPE.EV_ACTION,
    data: Buffer.alloc(60_000),
  }));
  const boot = readMeasuredBoot(pcrsOf([]), encodeEventLog(events));
  expect(boot.unreadable).toMatchObject({ code: 'event_log.too_large' });
  expect([...boot.events.values()].flat()).toEqual([]);
});
