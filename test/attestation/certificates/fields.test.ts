import 'reflect-metadata';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import { DER, DerReader, encodeDer } from '../../../attestation/bytes/der';
import { BytesError } from '../../../attestation/bytes/reader';
import { verifyChain } from '../../../attestation/certificates/chain';
import { completeChain, makePool } from '../../../attestation/certificates/complete-chain';
import { CertificateError } from '../../../attestation/certificates/errors';
import { readCertificateFields } from '../../../attestation/certificates/fields';
import type { CertificateForm } from '../../../attestation/certificates/fields';
import { certificatePem } from '../../../attestation/certificates/pem';
import { makeAuthority } from '../../support/authority';
import type { TestAuthority } from '../../support/authority';
import {
  asOaep,
  EMPTY_NAME,
  encodeName,
  EXPLICIT_NO_CA,
  purposes,
  writeCertificate,
} from '../../support/maker-certificate';
import type { MakerCertificate } from '../../support/maker-certificate';

const PURPOSE = '2.23.133.8.1';
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'der', type: 'spki' });
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey;
const rsaSpki = rsa.export({ format: 'der', type: 'spki' });
/** subjectAltName with one directoryName, empty. */
const NAMES = { oid: '2.5.29.17', value: Buffer.from('3004a4023000', 'hex') };
const NULL = Buffer.from('0500', 'hex');
const EMPTY_CRITICAL = { ...NAMES, critical: true };

let root: TestAuthority;
beforeAll(async () => {
  root = await makeAuthority('maker');
});

function verify(der: Uint8Array, form: CertificateForm): string {
  try {
    verifyChain({ certificates: [der], roots: [root.certificate], now: new Date(), purpose: PURPOSE, form });
  } catch (error) {
    if (error instanceof CertificateError) return error.code;
    throw error;
  }
  return 'accepted';
}
const write = (changes: Partial<MakerCertificate> = {}): Buffer =>
  writeCertificate(root, { publicKey: ec, extensions: [purposes(PURPOSE)], ...changes });

test('a certificate without peculiarities is taken in both forms', () => {
  for (const form of ['strict', 'maker'] as const) expect(verify(write(), form)).toBe('accepted');
});

test('what the signature covers is the bytes as they stand', () => {
  const der = write({ extensions: [EXPLICIT_NO_CA, purposes(PURPOSE)] });
  const { tbs } = readCertificateFields(der, 'maker');
  expect(der.includes(tbs)).toBe(true);
  expect(tbs.includes(Buffer.from('3003010100', 'hex'))).toBe(true);
});

/** Each is what some maker did: taken from makers alone, and refused in certificates that this project issues. */
describe.each<[string, () => Buffer]>([
  ['critical that says FALSE', () => write({ extensions: [{ ...purposes(PURPOSE), critical: false }] })],
  ['a cA that says FALSE', () => write({ extensions: [EXPLICIT_NO_CA, purposes(PURPOSE)] })],
  ['padding of zeros behind it', () => Buffer.concat([write(), Buffer.alloc(300)])],
  ['padding of FF behind it', () => Buffer.concat([write(), Buffer.alloc(300, 0xff)])],
  ['a key of type RSAES-OAEP', () => write({ publicKey: asOaep(rsaSpki) })],
  ['a negative serial number', () => write({ serial: Buffer.from('b000', 'hex') })],
  ['the serial number zero', () => write({ serial: Buffer.from('00', 'hex') })],
  ['a serial number with zeros before it', () => write({ serial: Buffer.from('0001', 'hex') })],
  ['a serial number of 21 bytes', () => write({ serial: Buffer.alloc(21, 0x11) })],
  [
    'an empty subject beside an alternative name that is not critical',
    () => write({ subject: EMPTY_NAME, extensions: [NAMES, purposes(PURPOSE)] }),
  ],
])('%s', (_, make) => {
  test('is taken from a maker', () => expect(verify(make(), 'maker')).toBe('accepted'));
  test('is refused otherwise', () => {
    expect(verify(make(), 'strict')).toMatch(/^certificate\.(malformed|weak_key)$/);
  });
  test('by another authority it is as untrusted as any', async () => {
    const other = await makeAuthority('maker');
    const verifyOther = (): unknown =>
      verifyChain({ certificates: [make()], roots: [other.certificate], now: new Date(), form: 'maker' });
    expect(verifyOther).toThrowWithCode('certificate.untrusted');
  });
});

describe('refused from makers too:', () => {
  test.each<[string, () => Buffer]>([
    ['padding of other bytes', () => Buffer.concat([write(), Buffer.alloc(3, 0x11)])],
    [
      'bytes behind a key of type RSAES-OAEP',
      () => write({ publicKey: encodeDer(DER.SEQUENCE, asOaep(rsaSpki).subarray(4), NULL) }),
    ],
    ['other bytes than padding behind it', () => Buffer.concat([write(), Buffer.from([0, 0, 1])])],
    ['padding of two kinds', () => Buffer.concat([write(), Buffer.from([0, 0xff])])],
    ['a second certificate behind it', () => Buffer.concat([write(), write()])],
    ['an empty serial number', () => write({ serial: Buffer.alloc(0) })],
    ['a serial number of 65 bytes', () => write({ serial: Buffer.alloc(65, 0x11) })],
    ['an empty subject without another name', () => write({ subject: EMPTY_NAME })],
    [
      'another algorithm inside what is signed',
      () => write({ innerAlgorithm: Buffer.from('300a06082a8648ce3d040303', 'hex') }),
    ],
    ['an extension twice', () => write({ extensions: [purposes(PURPOSE), { ...purposes(PURPOSE), critical: false }] })],
  ])('%s', (_, make) => expect(verify(make(), 'maker')).toBe('certificate.malformed'));

  test('a key of type RSAES-OAEP that signs certificates', async () => {
    const middle = writeCertificate(root, {
      publicKey: asOaep(rsaSpki),
      subject: encodeName('middle'),
      extensions: [{ oid: '2.5.29.19', critical: true, value: Buffer.from('30030101ff', 'hex') }],
    });
    const below = (): unknown =>
      verifyChain({ certificates: [write(), middle], roots: [root.certificate], now: new Date(), form: 'maker' });
    expect(below).toThrowWithCode('certificate.not_a_ca');
  });

  test('an explicit FALSE does not make a critical extension harmless, nor a CA of a leaf', () => {
    const critical = { oid: '1.2.3.4', critical: true, value: Buffer.from('0500', 'hex') };
    expect(verify(write({ extensions: [critical, purposes(PURPOSE)] }), 'maker')).toBe(
      'certificate.critical_extension',
    );
    const ca = { oid: '2.5.29.19', critical: true, value: Buffer.from('30030101ff', 'hex') };
    expect(verify(write({ extensions: [ca, purposes(PURPOSE)] }), 'maker')).toBe('certificate.is_a_ca');
  });

  test('one bit of what is signed, or of the signature', () => {
    const der = write({ extensions: [EXPLICIT_NO_CA, purposes(PURPOSE)] });
    for (const at of [30, 100, der.length - 1]) {
      const changed = Buffer.from(der);
      changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
      expect(verify(changed, 'maker')).not.toBe('accepted');
    }
  });
});

test('an authority without a key usage may sign others', () => {
  const middle = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const subject = encodeName('middle');
  const certificate = writeCertificate(root, {
    publicKey: middle.publicKey.export({ format: 'der', type: 'spki' }),
    subject,
    extensions: [{ oid: '2.5.29.19', critical: true, value: Buffer.from('30030101ff', 'hex') }],
  });
  const privateKey = String(middle.privateKey.export({ format: 'pem', type: 'pkcs8' }));
  const leaf = writeCertificate(
    { certificate: certificatePem(certificate), privateKey },
    {
      publicKey: ec,
      issuerName: subject,
      extensions: [purposes(PURPOSE)],
    },
  );
  const requirements = { certificates: [leaf, certificate], roots: [root.certificate], now: new Date() };
  expect(() => verifyChain(requirements)).not.toThrow();
});

test.each([
  ['strict', '14'.repeat(20)],
  ['strict', '01'],
  ['strict', '7f'],
  ['strict', '0080'],
  ['maker', '14'.repeat(64)],
] as const)('in form %s the serial number %s is taken', (form, hex) => {
  expect(() => readCertificateFields(write({ serial: Buffer.from(hex, 'hex') }), form)).not.toThrow();
});

test.each(['80', '007f', '00', '0000', '14'.repeat(21)])('in form strict the serial number %s is refused', (hex) => {
  expect(() => readCertificateFields(write({ serial: Buffer.from(hex, 'hex') }))).toThrow(BytesError);
});

test('an empty subject without another name is no certificate of ours', () => {
  expect(() => readCertificateFields(write({ subject: EMPTY_NAME }))).toThrow(BytesError);
});

describe('every structure ends where it says, and nothing stands behind its parts', () => {
  const parts = (bytes: Buffer): Buffer[] => {
    const [elements, found] = [new DerReader(bytes, 'sample').inside(DER.SEQUENCE), [] as Buffer[]];
    while (!elements.done) {
      const { tag, content } = elements.next();
      found.push(encodeDer(tag, content));
    }
    return found;
  };
  const sequence = (...of: Buffer[]): Buffer => encodeDer(DER.SEQUENCE, ...of);
  /** Of a version 3 certificate: where its parts are (RFC 5280, 4.1). */
  const [VALIDITY, EXTENSIONS] = [4, 7];
  const change = (edit: (tbs: Buffer[], whole: Buffer[]) => void): Buffer => {
    const whole = parts(write());
    const tbs = parts(whole[0] as Buffer);
    edit(tbs, whole);
    return sequence(sequence(...tbs), ...whole.slice(1));
  };
  const extension = (oid: string, value: Buffer): Buffer => write({ extensions: [{ oid, value }] });
  const time = (tag: number, text: string): Buffer => encodeDer(tag, Buffer.from(text));
  const withTimes = (...times: Buffer[]): Buffer => change((tbs) => (tbs[VALIDITY] = sequence(...times)));
  const end = time(DER.UTC_TIME, '270101000000Z');

  test('the certificate taken apart and put together is read', () => {
    expect(() => readCertificateFields(change(() => undefined))).not.toThrow();
    expect(parts(parts(write())[0] as Buffer)).toHaveLength(EXTENSIONS + 1);
  });

  test.each<[string, () => Buffer]>([
    ['the certificate', () => change((_tbs, whole) => whole.push(NULL))],
    ['what is signed', () => change((tbs) => tbs.push(NULL))],
    ['the validity', () => withTimes(end, end, end)],
    [
      'an extension',
      () => {
        const item = sequence(encodeDer(DER.OID, Buffer.from('2a0304', 'hex')), encodeDer(DER.OCTET_STRING), NULL);
        return change((tbs) => (tbs[EXTENSIONS] = encodeDer(0xa3, sequence(item))));
      },
    ],
    ['the basic constraints, inside', () => extension('2.5.29.19', sequence(NULL))],
    ['the basic constraints', () => extension('2.5.29.19', Buffer.concat([sequence(), NULL]))],
    ['the key usage', () => extension('2.5.29.15', Buffer.from('030207800500', 'hex'))],
    ['a key identifier', () => extension('2.5.29.14', Buffer.from('0401aa0500', 'hex'))],
    ['a signature without bits', () => change((_tbs, whole) => (whole[2] = Buffer.from('030100', 'hex')))],
    ['a time in UTC with something before it', () => withTimes(time(DER.UTC_TIME, '0260101000000Z'), end)],
    ['a time in UTC with something behind it', () => withTimes(time(DER.UTC_TIME, '260101000000Z0'), end)],
    ['a general time with something before it', () => withTimes(time(DER.GENERALIZED_TIME, '020260101000000Z'), end)],
    ['a general time with something behind it', () => withTimes(time(DER.GENERALIZED_TIME, '20260101000000Z0'), end)],
  ])('%s', (_, make) => {
    expect(() => readCertificateFields(make())).toThrow(BytesError);
  });

  test('a signature of one byte is read, and the years are those of RFC 5280, 4.1.2.5.1', () => {
    const short = change((_tbs, whole) => (whole[2] = Buffer.from('03020001', 'hex')));
    expect(readCertificateFields(short).signature).toEqual(Buffer.from([1]));
    const read = readCertificateFields(
      withTimes(time(DER.UTC_TIME, '500101000000Z'), time(DER.UTC_TIME, '491231235959Z')),
    );
    expect(read.notBefore).toEqual(new Date('1950-01-01T00:00:00Z'));
    expect(read.notAfter).toEqual(new Date('2049-12-31T23:59:59Z'));
  });
});

test('an RSAES-OAEP key is read as the RSA key that it is', () => {
  const { spki, encryptsOnly } = readCertificateFields(write({ publicKey: asOaep(rsaSpki) }), 'maker');
  expect(spki).toEqual(rsaSpki);
  expect(encryptsOnly).toBe(true);
  expect(readCertificateFields(write({ publicKey: rsaSpki }), 'maker')).toMatchObject({
    spki: rsaSpki,
    encryptsOnly: false,
  });
});

test('strict takes an empty subject with a critical alternative name, as RFC 5280 has it', () => {
  expect(verify(write({ subject: EMPTY_NAME, extensions: [EMPTY_CRITICAL, purposes(PURPOSE)] }), 'strict')).toBe(
    'accepted',
  );
});

test('an issuer is found by its name in another type of string, case and spacing', () => {
  const issuerName = encodeName(' MAKER ', 0x13);
  const der = write({ issuerName });
  expect(readCertificateFields(new X509Certificate(root.certificate).raw).subject.der.equals(issuerName)).toBe(false);
  expect(verify(der, 'maker')).toBe('accepted');
  expect(verify(write({ issuerName: encodeName('maker 2') }), 'maker')).toBe('certificate.untrusted');
});

test('mutated certificates, in both forms: a typed error or the same key as before, and never another one believed', () => {
  const der = write({
    extensions: [EXPLICIT_NO_CA, { ...purposes(PURPOSE), critical: false }],
    subject: encodeName('x'),
  });
  const change = fc.record({ at: fc.nat(der.length - 1), value: fc.integer({ min: 0, max: 255 }) });
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), fc.nat(12), fc.boolean(), (changes, cut, pad) => {
      let bytes = Buffer.from(der);
      for (const { at, value } of changes) bytes[at] = value;
      const same = bytes.equals(der) && cut === 0;
      bytes = bytes.subarray(0, bytes.length - cut);
      if (pad) bytes = Buffer.concat([bytes, Buffer.alloc(5)]);
      for (const form of ['strict', 'maker'] as const) {
        try {
          readCertificateFields(bytes, form);
        } catch (error) {
          expect(error).toBeInstanceOf(BytesError);
        }
      }
      expect(verify(bytes, 'maker') === 'accepted').toBe(same);
    }),
    { numRuns: 3000 },
  );
});

test('any bytes: a typed error, or a chain handed back as it came', () => {
  const pool = makePool([root.certificate]);
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 5 }), (certificates) => {
      expect(completeChain(certificates, pool)).toEqual(certificates);
    }),
    { numRuns: 1000 },
  );
});
