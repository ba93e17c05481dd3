import fc from 'fast-check';
import { encodeDer } from '../../../attestation/bytes/der';
import { isSameName, nameText } from '../../../attestation/certificates/name';
import { encodeName } from '../../support/maker-certificate';

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
