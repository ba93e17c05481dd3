/** Longest text that is taken from a log, in characters. */
const MAX_TEXT_LENGTH = 240;

/** Longest line that describes an event: a kernel's command line (2,048 characters on x86) with what stands before it. */
export const MAX_LINE_LENGTH = 2100;

/** On one line, printable ASCII only: a log is an attacker's text, and it goes to terminals. */
export function plainText(text: string, max = MAX_TEXT_LENGTH): string {
  const plain = text.replace(/[^\x20-\x7e]+/g, ' ').trim();
  return plain.length > max ? `${plain.slice(0, max - 3)}...` : plain;
}

/** CHAR16s up to the first NUL. */
export function utf16Text(bytes: Buffer): string {
  return plainText(bytes.toString('utf16le').split('\0')[0] ?? '');
}

/** Firmware writes some texts as CHAR8 and some as CHAR16 under one event type; undefined for bytes that are neither. */
export function anyText(bytes: Buffer, max = MAX_TEXT_LENGTH): string | undefined {
  const text = [bytes.length % 2 === 0 ? bytes.toString('utf16le') : '', bytes.toString('latin1')].find(isPrintable);
  return text === undefined ? undefined : plainText(text.split('\0')[0] ?? '', max);
}

function isPrintable(text: string): boolean {
  return /^[\x20-\x7e\t\r\n]+\0*$/.test(text);
}

/** EFI_GUID as people write it (UEFI 2.10, appendix A): its first three fields are little-endian. */
export function guidText(bytes: Buffer): string {
  const part = (from: number, to: number): string => Buffer.from(bytes.subarray(from, to)).reverse().toString('hex');
  return `${part(0, 4)}-${part(4, 6)}-${part(6, 8)}-${bytes.toString('hex', 8, 10)}-${bytes.toString('hex', 10, 16)}`;
}
