import { LittleEndianReader } from '../../bytes/little-endian';
import { guidText, utf16Text } from './text';

/** EFI_DEVICE_PATH_PROTOCOL types and sub-types (UEFI 2.10, 10.3). */
const END = 0x7f;
const MEDIA = 0x04;
const MEDIA_HARD_DRIVE = 0x01;
const MEDIA_FILE_PATH = 0x04;
const MEDIA_FIRMWARE_FILE = 0x06;
const MEDIA_FIRMWARE_VOLUME = 0x07;
const MAX_NODES = 32;

/**
 * The parts of a device path that tell a person where an image came from: partition, file, firmware file.
 * @returns text, or undefined when none of its nodes is of these kinds
 * @throws BytesError for a path that ends early
 */
export function describeDevicePath(bytes: Buffer): string | undefined {
  const reader = new LittleEndianReader(bytes, 'device path');
  const parts: string[] = [];
  for (let nodes = 0; reader.remaining > 0 && nodes < MAX_NODES; nodes++) {
    const type = reader.u8();
    const subType = reader.u8();
    const length = reader.u16();
    if (type === END) break;
    // A length counts its own four bytes; a smaller one would never reach the end.
    const content = reader.take(Math.max(0, length - 4));
    const part = type === MEDIA ? describeMedia(subType, content) : undefined;
    if (part !== undefined && part !== '') parts.push(part);
  }
  return parts.length > 0 ? parts.join(' ') : undefined;
}

function describeMedia(subType: number, content: Buffer): string | undefined {
  if (subType === MEDIA_FILE_PATH) return utf16Text(content);
  if (subType === MEDIA_HARD_DRIVE && content.length >= 4) return `partition ${content.readUInt32LE()}`;
  if (content.length < 16) return undefined;
  if (subType === MEDIA_FIRMWARE_FILE) return `firmware file ${guidText(content)}`;
  return subType === MEDIA_FIRMWARE_VOLUME ? `firmware volume ${guidText(content)}` : undefined;
}
