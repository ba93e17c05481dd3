import { EVENT_TYPE } from '../../../../attestation/tpm/event-log/constants';
import { describeEvent } from '../../../../attestation/tpm/event-log/describe';
import { parseEventLog } from '../../../../attestation/tpm/event-log/parse';
import {
  devicePathNode,
  encodeEventLog,
  filePath,
  grubEvent,
  imageEvent,
  u16le,
  u32le,
  u64le,
  utf16,
  variableEvent,
} from '../../../support/event-log';
import type { EventInput } from '../../../support/event-log';

describe('an event for people', () => {
  const describe1 = (input: EventInput): [string, string, boolean] => {
    const event = parseEventLog(encodeEventLog([input])).events[0];
    const { type, text, measured } = describeEvent(event as NonNullable<typeof event>);
    return [type, text, measured];
  };
  const T = EVENT_TYPE;
  const partitions = (...names: string[]): EventInput => ({
    pcr: 5,
    type: T.EV_EFI_GPT_EVENT,
    data: Buffer.concat([
      Buffer.alloc(92),
      u64le(BigInt(names.length)),
      ...names.flatMap((name) => [Buffer.alloc(56), Buffer.concat([utf16(name), Buffer.alloc(72)], 72)]),
    ]),
  });
  const image = (...path: Buffer[]): EventInput => {
    const bytes = Buffer.concat(path);
    return {
      pcr: 2,
      type: T.EV_EFI_BOOT_SERVICES_DRIVER,
      data: Buffer.concat([u64le(0n), u64le(77n), u64le(0n), u64le(BigInt(bytes.length)), bytes]),
    };
  };

  test.each<[EventInput, string, string, boolean]>([
    [{ pcr: 0, type: T.EV_S_CRTM_VERSION, data: utf16('firmware 1.2') }, 'EV_S_CRTM_VERSION', 'firmware 1.2', true],
    [
      { pcr: 0, type: T.EV_S_CRTM_VERSION, data: Buffer.from('1efb6b540c1d5540a4ad4ef4bf17b83a', 'hex') },
      'EV_S_CRTM_VERSION',
      '546bfb1e-1d0c-4055-a4ad-4ef4bf17b83a',
      true,
    ],
    [{ pcr: 7, type: T.EV_SEPARATOR, data: Buffer.alloc(4) }, 'EV_SEPARATOR', 'end of the firmware', true],
    [{ pcr: 7, type: T.EV_SEPARATOR, data: u32le(1) }, 'EV_SEPARATOR', 'the firmware met an error', true],
    [
      variableEvent(7, T.EV_EFI_VARIABLE_DRIVER_CONFIG, 'SecureBoot', Buffer.from([1])),
      'EV_EFI_VARIABLE_DRIVER_CONFIG',
      'SecureBoot = 01',
      true,
    ],
    [
      variableEvent(7, T.EV_EFI_VARIABLE_DRIVER_CONFIG, 'db', Buffer.alloc(900)),
      'EV_EFI_VARIABLE_DRIVER_CONFIG',
      'db, 900 bytes',
      true,
    ],
    [
      variableEvent(
        1,
        T.EV_EFI_VARIABLE_BOOT,
        'Boot0001',
        Buffer.concat([u32le(1), u16le(filePath(2, '\\a.efi').length), utf16('debian'), filePath(2, '\\a.efi')]),
      ),
      'EV_EFI_VARIABLE_BOOT',
      'Boot0001 "debian" partition 2 \\a.efi',
      true,
    ],
    [
      imageEvent('\\EFI\\BOOT\\BOOTX64.EFI', Buffer.from('image')),
      'EV_EFI_BOOT_SERVICES_APPLICATION',
      'partition 1 \\EFI\\BOOT\\BOOTX64.EFI',
      false,
    ],
    [
      { pcr: 4, type: T.EV_EFI_ACTION, data: Buffer.from('Exit Boot Services Invocation') },
      'EV_EFI_ACTION',
      'Exit Boot Services Invocation',
      true,
    ],
    [
      {
        pcr: 8,
        type: T.EV_IPL,
        data: Buffer.from('grub_cmd: linux /vmlinuz\0'),
        measured: Buffer.from('linux /vmlinuz'),
      },
      'EV_IPL',
      'GRUB command: linux /vmlinuz',
      true,
    ],
    [
      grubEvent('kernel_cmdline', '/vmlinuz init=/bin/sh'),
      'EV_IPL',
      'kernel command line: /vmlinuz init=/bin/sh',
      true,
    ],
    [grubEvent('module_cmdline', '/xen'), 'EV_IPL', 'module command line: /xen', true],
    [grubEvent('other_cmd', 'x'), 'EV_IPL', 'other_cmd: x', true],
    [{ pcr: 12, type: T.EV_IPL, data: utf16('ro quiet') }, 'EV_IPL', 'kernel command line: ro quiet', true],
    [
      { pcr: 12, type: T.EV_IPL, data: utf16('Credentials initrd'), measured: Buffer.from('cpio') },
      'EV_IPL',
      'Credentials initrd',
      false,
    ],
    [{ pcr: 11, type: T.EV_IPL, data: utf16('.linux') }, 'EV_IPL', '.linux', true],
    [
      { pcr: 9, type: T.EV_IPL, data: Buffer.from('/vmlinuz\0'), measured: Buffer.from('kernel') },
      'EV_IPL',
      '/vmlinuz',
      false,
    ],
    [
      { pcr: 9, type: T.EV_EVENT_TAG, data: Buffer.concat([u32le(0x8f3b22ed), u32le(8), Buffer.from('initrd!\0')]) },
      'EV_EVENT_TAG',
      'kernel load options: initrd!',
      true,
    ],
    [
      { pcr: 9, type: T.EV_EVENT_TAG, data: Buffer.concat([u32le(0x4711), u32le(1), Buffer.from([7])]) },
      'EV_EVENT_TAG',
      'tag 0x00004711',
      true,
    ],
    [partitions('root'), 'EV_EFI_GPT_EVENT', '1 partitions: root', true],
    [
      { pcr: 0, type: T.EV_EFI_PLATFORM_FIRMWARE_BLOB, data: Buffer.concat([u64le(0xff000000n), u64le(4096n)]) },
      'EV_EFI_PLATFORM_FIRMWARE_BLOB',
      '4096 bytes at 0xff000000',
      true,
    ],
    [
      {
        pcr: 0,
        type: T.EV_EFI_PLATFORM_FIRMWARE_BLOB2,
        data: Buffer.concat([Buffer.from([4]), Buffer.from('DXE '), u64le(0n), u64le(99n)]),
      },
      'EV_EFI_PLATFORM_FIRMWARE_BLOB2',
      'DXE, 99 bytes',
      true,
    ],
    [{ pcr: 9, type: T.EV_IPL, data: Buffer.from([0, 1, 2]) }, 'EV_IPL', '3 bytes', true],
    [{ pcr: 9, type: T.EV_ACTION, data: Buffer.from('ab\x01\x02') }, 'EV_ACTION', '4 bytes', true],
    [{ pcr: 9, type: T.EV_ACTION, data: Buffer.alloc(0) }, 'EV_ACTION', '0 bytes', true],
    [
      { pcr: 9, type: T.EV_IPL, data: Buffer.from('/vmlinuz\0'), measured: Buffer.from('/vmlinuz') },
      'EV_IPL',
      '/vmlinuz',
      true,
    ],
    [
      { pcr: 8, type: T.EV_IPL, data: Buffer.from('grub_cmd: echo\0'), measured: Buffer.from('init=/bin/sh') },
      'EV_IPL',
      'GRUB command: echo',
      false,
    ],
    [{ pcr: 8, type: T.EV_IPL, data: Buffer.from('xecho'), measured: Buffer.from('echo') }, 'EV_IPL', 'xecho', false],
    [{ pcr: 8, type: T.EV_IPL, data: Buffer.from(': echo'), measured: Buffer.from('echo') }, 'EV_IPL', ': echo', false],
    [{ pcr: 8, type: T.EV_IPL, data: Buffer.from('Loader grub_cmd: echo') }, 'EV_IPL', 'Loader grub_cmd: echo', true],
    [
      {
        pcr: 12,
        type: T.EV_EVENT_TAG,
        data: Buffer.concat([u32le(0x6c46f751), u32le(4), Buffer.from('a.dt')]),
      },
      'EV_EVENT_TAG',
      'device tree add-on: a.dt',
      true,
    ],
    [
      variableEvent(7, T.EV_EFI_VARIABLE_DRIVER_CONFIG, 'Timeout', Buffer.alloc(8, 1)),
      'EV_EFI_VARIABLE_DRIVER_CONFIG',
      'Timeout = 0101010101010101',
      true,
    ],
    [
      variableEvent(7, T.EV_EFI_VARIABLE_DRIVER_CONFIG, '', Buffer.from([1])),
      'EV_EFI_VARIABLE_DRIVER_CONFIG',
      '8be4df61-93ca-11d2-aa0d-00e098032b8c = 01',
      true,
    ],
    ...['MyBoot0001', 'Boot00011', 'Boot000g'].map((name): [EventInput, string, string, boolean] => [
      variableEvent(1, T.EV_EFI_VARIABLE_BOOT, name, Buffer.from([2])),
      'EV_EFI_VARIABLE_BOOT',
      `${name} = 02`,
      true,
    ]),
    [
      partitions('efi', '', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'),
      'EV_EFI_GPT_EVENT',
      '10 partitions: efi, unnamed, c, d, e, f, g, h',
      true,
    ],
    [{ pcr: 0, type: 0x4711, data: Buffer.from([0, 1, 2]) }, '0x00004711', '3 bytes', true],
  ])('%#', (input, ...expected) => {
    expect(describe1(input)).toEqual(expected);
  });

  test('an image in a firmware volume, and one without a path', () => {
    const guid = Buffer.from('bdc9b87cebf8344faaea3ee4af6516a1', 'hex');
    const end = devicePathNode(0x7f, 0xff, Buffer.alloc(0));
    expect(describe1(image(devicePathNode(4, 7, guid), devicePathNode(4, 6, guid), end))[1]).toBe(
      'firmware volume 7cb8c9bd-f8eb-4f34-aaea-3ee4af6516a1 firmware file 7cb8c9bd-f8eb-4f34-aaea-3ee4af6516a1',
    );
    expect(describe1(image())[1]).toBe('image of 77 bytes');
  });

  test('of a path, what names a place is told: not other nodes, not what is cut short, not what follows its end', () => {
    const told = (...path: Buffer[]): string => describe1(image(...path))[1];
    const partition = devicePathNode(4, 1, u32le(3));
    const [hardware, file] = [devicePathNode(1, 1, Buffer.alloc(4)), devicePathNode(4, 4, utf16('a.efi'))];
    expect(told(partition, hardware, devicePathNode(4, 4, utf16('')), file)).toBe('partition 3 a.efi');
    expect(told(hardware)).toBe('image of 77 bytes');
    expect(told(devicePathNode(4, 1, Buffer.alloc(3)))).toBe('image of 77 bytes');
    for (const kind of [6, 7]) expect(told(devicePathNode(4, kind, Buffer.alloc(15)))).toBe('image of 77 bytes');
    expect(told(devicePathNode(4, 2, Buffer.alloc(16)))).toBe('image of 77 bytes');
    expect(told(partition, devicePathNode(0x7f, 0xff, Buffer.alloc(0)), file)).toBe('partition 3');
    expect(told(...Array.from({ length: 40 }, () => partition))).toBe(Array(32).fill('partition 3').join(' '));
  });

  test('a kernel command line is told whole, everything else cut', () => {
    const words = Array.from({ length: 200 }, (_, at) => `word${at}`).join(' ');
    expect(describe1(grubEvent('kernel_cmdline', words))[1]).toBe(`kernel command line: ${words}`);
    expect(describe1(grubEvent('grub_cmd', words))[1]).toHaveLength(240);
    const action = (length: number): string =>
      describe1({ pcr: 4, type: T.EV_ACTION, data: Buffer.from('x'.repeat(length)) })[1];
    expect(action(240)).toBe('x'.repeat(240));
    expect(action(241)).toBe(`${'x'.repeat(237)}...`);
    expect(describe1(grubEvent('kernel_cmdline', words.repeat(9)))[1]).toHaveLength(2100);
  });

  test("a log's text never reaches a terminal as more than one plain line", () => {
    const data = Buffer.from('a\x1b[31m\nroot# \u202eb'.padEnd(400, 'x'));
    const [, text] = describe1({ pcr: 4, type: T.EV_EFI_ACTION, data });
    expect(text).toMatch(/^[\x20-\x7e]{1,240}$/);
    expect(describe1(variableEvent(7, T.EV_EFI_VARIABLE_DRIVER_CONFIG, 'a\x1b]0;b\nc', Buffer.alloc(1)))[1]).toMatch(
      /^[\x20-\x7e]{1,240}$/,
    );
  });
});
