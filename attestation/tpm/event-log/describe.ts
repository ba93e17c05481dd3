import { BytesError } from '../../bytes/reader';
import { sha256 as hash } from '../../crypto';
import { LittleEndianReader } from '../../bytes/little-endian';
import { EVENT_TYPE, eventTypeName, SPEC_ID_SIGNATURE } from './constants';
import { describeDevicePath } from './device-path';
import type { BootEvent } from './parse';
import { anyText, guidText, MAX_LINE_LENGTH, plainText, utf16Text } from './text';

/** An event for people. */
interface EventDescription {
  /** EV_EFI_ACTION. */
  type: string;
  /** One line of printable ASCII; empty where nothing can be said. */
  text: string;
  /**
   * The text comes from bytes whose hash is the event's digest. Otherwise it is the log's word alone: the digest was
   * quoted, what it stands for was not.
   */
  measured: boolean;
}

/** What the event says it measured (PFP 10.4.1 and the structures of 10.2). Never throws: data in another form is described by its length. */
export function describeEvent(event: BootEvent): EventDescription {
  const bytes = `${event.data.length} bytes`;
  let text: string;
  try {
    text = READERS.get(event.type)?.(event.data) ?? anyText(event.data) ?? bytes;
  } catch (error) {
    if (!(error instanceof BytesError)) throw error;
    text = bytes;
  }
  const measured = isMeasured(event);
  // systemd-stub's own texts in PCR 12 name what was measured; one that is what was measured is the command line itself.
  if (event.type === EVENT_TYPE.EV_IPL && event.pcr === 12 && measured) text = `${COMMAND_LINE}${text}`;
  return { type: eventTypeName(event.type), text: plainText(text, MAX_LINE_LENGTH), measured };
}

function isMeasured({ data, sha256 }: BootEvent): boolean {
  if (sha256 === undefined) return false;
  const hashes = (bytes: Buffer): boolean => hash(bytes).equals(sha256);
  if (hashes(data)) return true;
  // Boot loaders put "grub_cmd: " before the measured text, and a NUL behind it.
  const end = data.at(-1) === 0 ? data.length - 1 : data.length;
  const prefix = data.subarray(0, 32).indexOf(': ');
  return hashes(data.subarray(0, end)) || (prefix > 0 && hashes(data.subarray(prefix + 2, end)));
}

type Reader = (data: Buffer) => string | undefined;

const READERS: ReadonlyMap<number, Reader> = new Map<number, Reader>([
  [EVENT_TYPE.EV_SEPARATOR, describeSeparator],
  [EVENT_TYPE.EV_NO_ACTION, (data) => plainText(data.toString('latin1', 0, SPEC_ID_SIGNATURE.length))],
  [
    EVENT_TYPE.EV_S_CRTM_VERSION,
    (data) => anyText(data) ?? (data.length === 16 ? guidText(data) : `version ${data.toString('hex')}`),
  ],
  [EVENT_TYPE.EV_IPL, describeLoader],
  [EVENT_TYPE.EV_EVENT_TAG, describeTag],
  [EVENT_TYPE.EV_EFI_VARIABLE_DRIVER_CONFIG, describeVariable],
  [EVENT_TYPE.EV_EFI_VARIABLE_BOOT, describeVariable],
  [EVENT_TYPE.EV_EFI_VARIABLE_BOOT2, describeVariable],
  [EVENT_TYPE.EV_EFI_VARIABLE_AUTHORITY, describeVariable],
  [EVENT_TYPE.EV_EFI_BOOT_SERVICES_APPLICATION, describeImage],
  [EVENT_TYPE.EV_EFI_BOOT_SERVICES_DRIVER, describeImage],
  [EVENT_TYPE.EV_EFI_RUNTIME_SERVICES_DRIVER, describeImage],
  [EVENT_TYPE.EV_EFI_GPT_EVENT, describePartitions],
  [EVENT_TYPE.EV_EFI_GPT_EVENT2, describePartitions],
  [EVENT_TYPE.EV_EFI_PLATFORM_FIRMWARE_BLOB, describeFirmware],
  [EVENT_TYPE.EV_EFI_PLATFORM_FIRMWARE_BLOB2, describeNamedFirmware],
]);

/** PFP 10.4.1: 0 or 0xffffffff between firmware and boot loader; 1 when the firmware met an error. */
function describeSeparator(data: Buffer): string {
  return data.length === 4 && data.readUInt32LE() === 1 ? 'the firmware met an error' : 'end of the firmware';
}

const COMMAND_LINE = 'kernel command line: ';

/** The kernel's command line, where a description is of one. */
export function commandLineOf(description: string): string | undefined {
  return description.startsWith(COMMAND_LINE) ? description.slice(COMMAND_LINE.length) : undefined;
}

/** What GRUB puts before the text that it measures (grub-core/kern/tpm.c and its callers), in words. */
const GRUB_PREFIXES: ReadonlyMap<string, string> = new Map([
  ['grub_cmd: ', 'GRUB command: '],
  ['kernel_cmdline: ', COMMAND_LINE],
  ['module_cmdline: ', 'module command line: '],
]);

/** PCRs 8 and 9 have GRUB's commands and files; 11 and 12 the sections and the command line of a unified kernel image (systemd-stub). */
function describeLoader(data: Buffer): string | undefined {
  const text = anyText(data, MAX_LINE_LENGTH) ?? '';
  const [prefix = ''] = /^[a-z_]+: /.exec(text) ?? [];
  const words = GRUB_PREFIXES.get(prefix);
  if (words !== COMMAND_LINE) return plainText(`${words ?? prefix}${text.slice(prefix.length)}`) || undefined;
  return `${words}${text.slice(prefix.length)}`;
}

/** Ids of tagged events, in words: Linux (drivers/firmware/efi/libstub/efistub.h) and systemd (src/fundamental/tpm2-pcr.h). */
const TAGS: ReadonlyMap<number, string> = new Map([
  [0x8f3b22ec, 'initrd'],
  [0x8f3b22ed, 'kernel load options'],
  [0xf5bc582a, 'boot loader configuration'],
  [0x6c46f751, 'device tree add-on'],
  [0x49dffe0f, 'initrd add-on'],
  [0xdac08e1a, 'microcode add-on'],
  [0x13aed6db, 'profile of the unified kernel image'],
]);

/** TCG_PCClientTaggedEvent: an id, a size, data. */
function describeTag(data: Buffer): string {
  const reader = new LittleEndianReader(data, 'tagged event');
  const id = reader.u32();
  const name = TAGS.get(id) ?? `tag 0x${id.toString(16).padStart(8, '0')}`;
  const text = anyText(reader.take(reader.u32()));
  return text === undefined ? name : `${name}: ${text}`;
}

/** UEFI_VARIABLE_DATA: vendor GUID, lengths of name (in CHAR16) and data, name, data. */
function describeVariable(data: Buffer): string {
  const reader = new LittleEndianReader(data, 'variable');
  const vendor = reader.take(16);
  const nameLength = Number(reader.u64());
  const dataLength = Number(reader.u64());
  const name = utf16Text(reader.take(nameLength * 2)) || guidText(vendor);
  const value = reader.take(dataLength);
  if (/^Boot[0-9A-F]{4}$/.test(name)) return `${name} ${describeLoadOption(value)}`;
  return value.length <= 8 ? `${name} = ${value.toString('hex') || '(empty)'}` : `${name}, ${value.length} bytes`;
}

/** EFI_LOAD_OPTION (UEFI 2.10, 3.1.3): attributes, length of the paths, name, paths. */
function describeLoadOption(value: Buffer): string {
  const reader = new LittleEndianReader(value, 'load option');
  reader.take(4);
  const length = reader.u16();
  const rest = reader.take(reader.remaining);
  const name = utf16Text(rest);
  const path = describeDevicePath(rest.subarray((name.length + 1) * 2, (name.length + 1) * 2 + length));
  return path === undefined ? `"${name}"` : `"${name}" ${path}`;
}

/** UEFI_IMAGE_LOAD_EVENT: address, length, link-time address, length of the device path, path. */
function describeImage(data: Buffer): string {
  const reader = new LittleEndianReader(data, 'image');
  reader.take(8);
  const length = reader.u64();
  reader.take(8);
  return describeDevicePath(reader.take(Number(reader.u64()))) ?? `image of ${length} bytes`;
}

const GPT_HEADER_BYTES = 92;
const GPT_ENTRY_BYTES = 128;

/** UEFI_GPT_DATA: the partition table's header, number of entries, entries (UEFI 2.10, 5.3.3: name in CHAR16 from byte 56). */
function describePartitions(data: Buffer): string {
  const reader = new LittleEndianReader(data, 'partition table');
  reader.take(GPT_HEADER_BYTES);
  const count = Number(reader.u64());
  const names: string[] = [];
  for (let at = 0; at < count && names.length < 8; at++)
    names.push(utf16Text(reader.take(GPT_ENTRY_BYTES).subarray(56)) || 'unnamed');
  return `${count} partitions: ${names.join(', ')}`;
}

/** UEFI_PLATFORM_FIRMWARE_BLOB: address and length of what was measured. */
function describeFirmware(data: Buffer): string | undefined {
  const reader = new LittleEndianReader(data, 'firmware');
  const address = reader.u64();
  const length = reader.u64();
  return reader.remaining === 0 ? `${length} bytes at 0x${address.toString(16)}` : anyText(data);
}

/** UEFI_PLATFORM_FIRMWARE_BLOB2: the same behind a description. */
function describeNamedFirmware(data: Buffer): string {
  const reader = new LittleEndianReader(data, 'firmware');
  const name = plainText(reader.take(reader.u8()).toString('latin1'));
  reader.take(8);
  return `${name || 'firmware'}, ${reader.u64()} bytes`;
}
