import { BytesError } from '../../bytes/reader';
import { sha256 as hash } from '../../crypto';
import { LittleEndianReader } from '../../bytes/little-endian';
import { EVENT_TYPE, eventTypeName, SPEC_ID_SIGNATURE } from './constants';
import { describeDevicePath } from './device-path';
import type { BootEvent } from './parse';
import { anyText, guidText, plainText, utf16Text } from './text';

/** An event for people. */
export interface EventDescription {
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
    if (!(error instanceof BytesError || error instanceof RangeError)) throw error;
    text = bytes;
  }
  return { type: eventTypeName(event.type), text: plainText(text), measured: isMeasured(event) };
}

function isMeasured({ data, sha256 }: BootEvent): boolean {
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

/** TCG_PCClientTaggedEvent: an id, a size, data. */
function describeTag(data: Buffer): string {
  const reader = new LittleEndianReader(data, 'tagged event');
  const id = `tag 0x${reader.u32().toString(16).padStart(8, '0')}`;
  const text = anyText(reader.take(reader.u32()));
  return text === undefined ? id : `${id} ${text}`;
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
