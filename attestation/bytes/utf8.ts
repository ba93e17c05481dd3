import { BytesError } from './reader';

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Text, strictly: bytes that are no UTF-8 never become the text of other bytes. @throws BytesError bytes.malformed */
export function decodeUtf8(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new BytesError('bytes.malformed', 'expected UTF-8 text, got other bytes', { cause });
  }
}
