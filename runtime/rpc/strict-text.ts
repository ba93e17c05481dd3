import { configureTextEncoding } from '@bufbuild/protobuf/wire';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function wellFormed(text: string): string {
  // Each lone surrogate would become U+FFFD: two passwords one.
  if (!text.isWellFormed()) throw new TypeError('expected text that UTF-8 can hold, got a lone surrogate');
  return text;
}

/**
 * A protobuf `string` is UTF-8 (protobuf, "Scalar Value Types"), and the library replaces what isn't by U+FFFD unless told otherwise. Imported for its effect
 * by whatever serves or calls, so that it holds for every field of every message.
 */
configureTextEncoding({
  encodeUtf8: (text) => encoder.encode(wellFormed(text)),
  encodeUtf8Into: (text, into) => encoder.encodeInto(wellFormed(text), into),
  decodeUtf8: (bytes) => decoder.decode(bytes),
  // Asked by the library's reflection alone, which nothing here uses; its type demands one.
  checkUtf8: (text) => text.isWellFormed(),
});
