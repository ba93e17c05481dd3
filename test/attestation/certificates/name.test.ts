import fc from 'fast-check';
import { DerReader, encodeDer } from '../../../attestation/bytes/der';
import { CertificateName } from '../../../attestation/certificates/name';
import { encodeName } from '../../support/maker-certificate';

const isSameName = (a: Buffer, b: Buffer): boolean => new CertificateName(a).isSame(new CertificateName(b));
const nameText = (name: Uint8Array): string => new CertificateName(Buffer.from(name)).toString();
const PRINTABLE = 0x13;
const BMP = 0x1e;

test('one name in two encodings', () => {
  const name = encodeName('STM TPM ECC Root CA');
  expect(isSameName(name, encodeName('STM TPM ECC Root CA', PRINTABLE))).toBe(true);
  expect(isSameName(name, encodeName(' stm  tpm ecc ROOT ca'))).toBe(true);
});

test('bytes that are no name are the same as themselves, and as nothing else', () => {
  const broken = Buffer.from('no name');
  expect(isSameName(broken, Buffer.from(broken))).toBe(true);
  expect(isSameName(broken, Buffer.from('no name!'))).toBe(false);
});

test('an attribute with something behind its value is no name', () => {
  const type = encodeDer(0x06, Buffer.from('550403', 'hex'));
  const more = encodeDer(
    0x30,
    encodeDer(0x31, encodeDer(0x30, type, encodeDer(0x0c, Buffer.from('a')), Buffer.from('0500', 'hex'))),
  );
  expect(isSameName(more, encodeName('a'))).toBe(false);
  expect(nameText(more)).toBe('');
});

test('two names', () => {
  const name = encodeName('STM TPM ECC Root CA');
  for (const other of [
    encodeName('STM TPM ECC Root CA 2'),
    encodeName('STMTPM ECC Root CA'),
    encodeName('STM TPM ECC Root CA', BMP),
    encodeDer(0x30),
    Buffer.concat([name, Buffer.from([0])]),
    Buffer.alloc(0),
  ])
    expect(isSameName(name, other)).toBe(false);
});

test("a stranger's name is taken apart once, however many authorities it is compared with", () => {
  const attribute = encodeDer(
    0x31,
    encodeDer(0x30, encodeDer(0x06, Buffer.from('550403', 'hex')), encodeDer(0x0c, Buffer.from('a'))),
  );
  const long = new CertificateName(encodeDer(0x30, ...Array<Buffer>(1000).fill(attribute)));
  const authorities = Array.from({ length: 300 }, (_, at) => new CertificateName(encodeName(`authority ${at}`)));
  const read = jest.spyOn(DerReader.prototype, 'expect');
  for (let round = 0; round < 6; round++)
    for (const authority of authorities) expect(long.isSame(authority)).toBe(false);
  // Three structures and a sequence about them, for each attribute of each name.
  expect(read).toHaveBeenCalledTimes(3 * 1000 + 1 + 300 * (3 + 1));
  read.mockRestore();
});

test('the text of a name is plain and short, whatever it is', () => {
  expect(nameText(encodeName('a\u001b[31mb'))).toBe('a [31mb');
  expect(nameText(encodeName('x'.repeat(500)))).toHaveLength(80);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      expect(nameText(bytes)).toMatch(/^[\x20-\x7e]{0,80}$/);
      expect(isSameName(Buffer.from(bytes), encodeName('a'))).toBe(false);
    }),
  );
});
