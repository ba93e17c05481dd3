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
 * A Name, DER, as it stands in a certificate. Names say where to look for an issuer; only signatures show that it is the one. What is computed of it is
 * computed once: a stranger's name may be as long as a certificate, and is compared with those of hundreds of authorities.
 */
export class CertificateName {
  private canonical: string | undefined;

  constructor(readonly der: Buffer) {}

  /** Whether it is the other one (RFC 5280, 7.1): in whichever type of string, in upper or lower case, with one blank or more. */
  isSame(other: CertificateName): boolean {
    return this.canonicalText() === other.canonicalText();
  }

  /** On one line, for messages. It is the sender's text, so only what prints plainly is kept. Empty where it can't be read. */
  toString(): string {
    try {
      return attributes(this.der)
        .flatMap((set) => set.map(({ value }) => value.toString('latin1')))
        .join(', ')
        .replace(/[^\x20-\x7e]+/g, ' ')
        .slice(0, MAX_TEXT_LENGTH);
    } catch (error) {
      if (!(error instanceof BytesError)) throw error;
      return '';
    }
  }

  private canonicalText(): string {
    this.canonical ??= canonicalText(this.der);
    return this.canonical;
  }
}

/** JSON, or where it can't be read its bytes, which are the same as themselves and as no other name. */
function canonicalText(name: Buffer): string {
  const canonical = ({ type, tag, value }: Attribute): string[] =>
    TEXT_TAGS.includes(tag)
      ? [type, decodeUtf8(value).trim().replace(/\s+/g, ' ').toLowerCase()]
      : [type, String(tag), value.toString('hex')];
  try {
    return JSON.stringify(attributes(name).map((set) => set.map(canonical)));
  } catch (error) {
    if (!(error instanceof BytesError)) throw error;
    return name.toString('hex');
  }
}
