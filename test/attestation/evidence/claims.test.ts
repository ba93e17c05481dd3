import fc from 'fast-check';
import { claimsLeaf, encodeClaims, parseClaims } from '../../../attestation/evidence/claims';
import { EvidenceError } from '../../../attestation/evidence/errors';
import { leafHash } from '../../../attestation/transparency/merkle';
import { Claims, Purpose } from '../../../proto/gen/licensing/v1/evidence';
import { makeClaims } from '../../support/evidence';

const raw = (claims: Partial<Claims>): Buffer => Buffer.from(Claims.encode(makeClaims(claims)).finish());

test('claims are read as they were written', () => {
  for (const purpose of [Purpose.PURPOSE_CERTIFICATE, Purpose.PURPOSE_SESSION]) {
    for (const enclave of ['', 'gpu-lab', 'a'.repeat(63)]) {
      const claims = makeClaims({ purpose, enclave });
      expect(parseClaims(encodeClaims(claims))).toEqual(claims);
    }
  }
});

test('the leaf is the hash of the bytes as sent', () => {
  const bytes = encodeClaims(makeClaims());
  expect(claimsLeaf(bytes)).toEqual(leafHash(bytes));
});

describe('verified bytes are the parsed bytes: other encodings of claims are refused', () => {
  const good = raw({});
  test.each([
    ['a field twice, the second contradicting', Buffer.concat([good, Buffer.from([0x2a, 1, 0x78])])],
    ['a field twice, the same', Buffer.concat([good, good.subarray(0, 2)])],
    ['an unknown field', Buffer.concat([good, Buffer.from([0x68, 1])])],
    ['the default enclave written out as nothing', Buffer.concat([good, Buffer.from([0x62, 0])])],
    [
      'a default value written out',
      Buffer.concat([good.subarray(0, 2 + 34 + 34), Buffer.from([0x22, 0]), good.subarray(2 + 34 + 34)]),
    ],
    ['fields in another order', Buffer.concat([good.subarray(2), good.subarray(0, 2)])],
    ['a number with more bytes than needed', Buffer.concat([Buffer.from([0x08, 0x81, 0x00]), good.subarray(2)])],
    ['text that is not UTF-8', Buffer.concat([good.subarray(0, 2 + 34 + 34), Buffer.from([0x2a, 1, 0xff])])],
    ['a group that is not closed', Buffer.concat([good, Buffer.from([0x63])])],
    ['the end cut off', good.subarray(0, good.length - 1)],
  ])('%s', (_, bytes) => {
    expect(() => parseClaims(bytes)).toThrowWithCode('claims.not_canonical');
  });

  test('more than 4 KiB', () => {
    const longer = raw({ user: '' }).length + 3;
    const sized = (length: number): Buffer => raw({ user: 'a'.repeat(length - longer) });
    expect(sized(4096)).toHaveLength(4096);
    expect(() => parseClaims(sized(4096))).toThrowWithCode('claims.invalid');
    expect(() => parseClaims(sized(4097))).toThrowWithCode('claims.too_long');
  });
});

describe('fields of another form are refused, by reader and writer', () => {
  const bytes = (length: number): Buffer => Buffer.alloc(length, 1);
  test.each<[string, Partial<Claims>]>([
    ['no purpose', { purpose: Purpose.PURPOSE_UNSPECIFIED }],
    ['an unknown purpose', { purpose: 3 as Purpose }],
    ['a nonce of 31 bytes', { nonce: bytes(31) }],
    ['base64 of the nonce', { nonce: Buffer.from(bytes(32).toString('base64')) }],
    ['no nonce', { nonce: bytes(0) }],
    ['a short certificate hash', { certificateSha256: bytes(20) }],
    ['no client key', { clientKeySha256: bytes(0) }],
    ['an exporter where the purpose is the certificate', { tlsExporter: bytes(32) }],
    ['no exporter where the purpose is the session', { purpose: Purpose.PURPOSE_SESSION, tlsExporter: bytes(0) }],
    ['a short exporter', { purpose: Purpose.PURPOSE_SESSION, tlsExporter: bytes(12) }],
    ['no user', { user: '' }],
    ['a user with a newline', { user: 'a\nb' }],
    ['a user that is too long', { user: 'a'.repeat(129) }],
    ['a workload with NUL', { workloadUid: 'a\0b' }],
    ['an image by tag', { imageDigest: 'registry.example/enclave:latest' }],
    ['an image digest with something before it', { imageDigest: `xsha256:${'ab'.repeat(32)}` }],
    ['an image digest that is too long', { imageDigest: `sha256:${'ab'.repeat(33)}` }],
    ['a node with something behind it', { node: 'node-a!' }],
    ['no life at all', { issuedAt: 100n, expiresAt: 100n }],
    ['an end at the first second beyond dates', { expiresAt: 1n << 40n }],
    ['an image digest in upper case', { imageDigest: `sha256:${'AB'.repeat(32)}` }],
    ['a node with a slash', { node: '../node' }],
    ['a node in upper case', { node: 'Node' }],
    ['a node that is too long', { node: 'a.'.repeat(130) + 'a' }],
    ['the default enclave by its name: one enclave has one spelling', { enclave: 'default' }],
    ['an enclave in upper case', { enclave: 'GPU' }],
    ['an enclave with a slash', { enclave: '../lab' }],
    ['an enclave with a newline', { enclave: 'lab\n' }],
    ['an enclave that is too long', { enclave: 'a'.repeat(64) }],
    ['no time', { issuedAt: 0n }],
    ['an end before the start', { issuedAt: 100n, expiresAt: 99n }],
    ['a negative time', { issuedAt: -5n, expiresAt: 5n }],
    ['an end beyond dates', { expiresAt: 1n << 62n }],
  ])('%s', (_, fields) => {
    expect(() => parseClaims(raw(fields))).toThrowWithCode('claims.invalid');
    expect(() => encodeClaims(makeClaims(fields))).toThrowWithCode('claims.invalid');
  });
});

test('arbitrary and mutated bytes give claims or an EvidenceError, and claims only for their own encoding', () => {
  const good = raw({});
  const mutated = fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 0, max: 255 })).map(([at, value]) => {
    const bytes = Buffer.from(good);
    bytes[at] = value;
    return bytes;
  });
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
        mutated,
      ),
      (bytes) => {
        try {
          expect(encodeClaims(parseClaims(bytes))).toEqual(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(EvidenceError);
        }
      },
    ),
    { numRuns: 5000 },
  );
});
