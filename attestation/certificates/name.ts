import { DER, DerReader } from '../bytes/der';
import { BytesError } from '../bytes/reader';
import { decodeUtf8 } from '../bytes/utf8';

const SET = 0x31;
const MAX_TEXT_LENGTH = 80;
/** UTF8String, PrintableString, TeletexString, IA5String: the types of a DirectoryString (RFC 5280, 4.1.2.4) that hold one byte a character, or more. */
const TEXT_TAGS: readonly number[] = [DER.UTF8_STRING, 0x13, 0x14, 0x16];

interface Attribute {
  /** OID's content, hex. */
  type: string;
  tag: number;
  value: Buffer;
}

/** The attributes of a Name, DER, in its order, those of one set behind each other. @throws BytesError */
function attributes(name: Uint8Array): Attribute[][] {
  const outer = new DerReader(name, 'name');
  const sets = [...outer.inside(DER.SEQUENCE).all(SET)];
  outer.end();
  return sets.map((set) =>
    [...new DerReader(set, 'name').all(DER.SEQUENCE)].map((bytes) => {
      const reader = new DerReader(bytes, 'name');
      const type = reader.expect(DER.OID).toString('hex');
      const { tag, content: value } = reader.next();
      reader.end();
      return { type, tag, value };
    }),
  );
}

/**
 * Whether two Names are the same (RFC 5280, 7.1): in whichever type of string, in upper or lower case, with one blank or more. Names say where to
 * look for an issuer; only signatures show that it is the one.
 * @param a,b DER
 */
export function isSameName(a: Buffer, b: Buffer): boolean {
  if (a.equals(b)) return true;
  try {
    return canonicalName(a) === canonicalName(b);
  } catch (error) {
    if (!(error instanceof BytesError)) throw error;
    return false;
  }
}

function canonicalName(name: Uint8Array): string {
  const canonical = ({ type, tag, value }: Attribute): string[] =>
    TEXT_TAGS.includes(tag)
      ? [type, decodeUtf8(value).trim().replace(/\s+/g, ' ').toLowerCase()]
      : [type, String(tag), value.toString('hex')];
  return JSON.stringify(attributes(name).map((set) => set.map(canonical)));
}

/** A Name on one line, for messages. It is the sender's text, so only what prints plainly is kept. Empty where it can't be read. */
export function nameText(name: Uint8Array): string {
  try {
    return attributes(name)
      .flatMap((set) => set.map(({ value }) => value.toString('latin1')))
      .join(', ')
      .replace(/[^\x20-\x7e]+/g, ' ')
      .slice(0, MAX_TEXT_LENGTH);
  } catch (error) {
    if (!(error instanceof BytesError)) throw error;
    return '';
  }
}
