import 'reflect-metadata';
import { createHash, generateKeyPairSync, randomBytes, X509Certificate as NodeCertificate } from 'node:crypto';
import {
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  X509Certificate,
} from '@peculiar/x509';
import fc from 'fast-check';
import { parseCertificate, verifyChain } from '../../../attestation/certificates/chain';
import { CertificateError } from '../../../attestation/certificates/errors';
import { readCertificateFields } from '../../../attestation/certificates/fields';
import { certificatePem } from '../../../attestation/certificates/pem';
import { BytesError } from '../../../attestation/bytes/reader';
import { makeAuthority, makeLeaf } from '../../support/authority';
import type { TestAuthority } from '../../support/authority';
import { rocaModulus, rsaSpki } from '../../support/weak-keys';

type Authority = TestAuthority & { name: string };

const PURPOSE = '2.23.133.8.3';
const DAY = 86_400_000;
const derOf = (authority: TestAuthority): Buffer => Buffer.from(new X509Certificate(authority.certificate).rawData);

let root: Authority;
let intermediate: Authority;
let leaf: Buffer;
beforeAll(async () => {
  root = await makeAuthority('root');
  intermediate = await makeAuthority('intermediate', { issuer: root, pathLength: 0 });
  leaf = await makeLeaf(intermediate);
});

const verify = (certificates: Buffer[], roots: TestAuthority[] = [root], now = new Date()): unknown =>
  verifyChain({ certificates, roots: roots.map(({ certificate }) => certificate), now, purpose: PURPOSE });

test('a leaf below a root, and below an intermediate, is verified', async () => {
  expect(() => verify([leaf, derOf(intermediate)])).not.toThrow();
  expect(() => verify([leaf], [intermediate])).not.toThrow();
  const direct = await makeLeaf(root);
  expect(verify([direct])).toMatchObject({ fields: { extendedKeyUsage: [PURPOSE], basicConstraints: { ca: false } } });
});

test('two roots are trusted while they are rotated', async () => {
  const next = await makeAuthority('root');
  expect(() => verify([leaf, derOf(intermediate)], [next, root])).not.toThrow();
  expect(() => verify([leaf, derOf(intermediate)], [next])).toThrowWithCode('certificate.untrusted');
  expect(() => verify([leaf, derOf(intermediate)], [])).toThrowWithCode('certificate.untrusted');
});

test('a missing intermediate, a wrong order, one too many', () => {
  expect(() => verify([leaf])).toThrowWithCode('certificate.untrusted');
  expect(() => verify([leaf, leaf, derOf(intermediate)])).toThrowWithCode('certificate.not_a_ca');
  expect(() => verify([derOf(intermediate), leaf])).toThrowWithCode('certificate.is_a_ca');
  expect(() => verify([])).toThrowWithCode('certificate.malformed');
  expect(() => verify([leaf, ...Array<Buffer>(6).fill(derOf(intermediate))])).toThrowWithCode('certificate.malformed');
});

test('six certificates below a root, and not seven', async () => {
  const chain: Authority[] = [];
  for (let depth = 0; depth < 6; depth++)
    chain.unshift(await makeAuthority(`authority ${depth}`, { issuer: chain[0] ?? root }));
  const last = chain[0] as Authority;
  const below = await makeLeaf(last);
  expect(() => verify([below, ...chain.slice(0, 5).map(derOf)], [chain[5] as Authority])).not.toThrow();
  expect(() => verify([below, ...chain.map(derOf)])).toThrowWithCode('certificate.malformed');
});

test('an authority of the same name with another key', async () => {
  const impostor = await makeAuthority('intermediate');
  expect(() => verify([leaf, derOf(impostor)], [impostor])).toThrowWithCode('certificate.untrusted');
});

test('one bit of the signature flipped', () => {
  const broken = Buffer.from(leaf);
  broken.writeUInt8(broken[broken.length - 1]! ^ 1, broken.length - 1);
  expect(() => verify([broken, derOf(intermediate)])).toThrowWithCode('certificate.untrusted');
});

test('CA certificate accepted as a leaf: refused', async () => {
  expect(() => verify([derOf(intermediate)])).toThrowWithCode('certificate.is_a_ca');
  const ca = await makeLeaf(root, { ca: true });
  expect(() => verify([ca])).toThrowWithCode('certificate.is_a_ca');
});

test('a leaf that signs certificates itself: refused', async () => {
  const keys = await makeAuthority('leaf authority', { issuer: root, ca: false });
  expect(() => verify([leaf, derOf(keys)])).toThrowWithCode('certificate.not_a_ca');
  const noSign = await makeAuthority('no sign', { issuer: root, usages: KeyUsageFlags.cRLSign });
  const below = await makeLeaf(noSign);
  expect(() => verify([below, derOf(noSign)])).toThrowWithCode('certificate.not_a_ca');
  expect(() => verify([below], [noSign])).toThrowWithCode('certificate.not_a_ca');
  const noAuthority = await makeAuthority('no authority', { ca: false });
  const belowIt = await makeLeaf(noAuthority);
  expect(() => verify([belowIt], [noAuthority])).toThrowWithCode('certificate.not_a_ca');
});

test('more authorities than the path length allows', async () => {
  const second = await makeAuthority('second', { issuer: intermediate });
  const below = await makeLeaf(second);
  expect(() => verify([below, derOf(second), derOf(intermediate)])).toThrowWithCode('certificate.path_length');
  const strict = await makeAuthority('strict', { pathLength: 0 });
  const child = await makeAuthority('child', { issuer: strict });
  expect(() => verify([leaf, derOf(child)], [strict])).toThrowWithCode('certificate.untrusted');
  const grandchild = await makeLeaf(child);
  expect(() => verify([grandchild, derOf(child)], [strict])).toThrowWithCode('certificate.path_length');
});

test('certificates that have ended or not begun: leaf, intermediate and root', async () => {
  const now = Date.now();
  const old = await makeLeaf(root, { notBefore: new Date(now - 3 * DAY), notAfter: new Date(now - 2 * DAY) });
  expect(() => verify([old])).toThrowWithCode('certificate.expired');
  expect(() => verify([old], [root], new Date(now - 2.5 * DAY))).toThrowWithCode('certificate.not_yet_valid');
  const early = await makeLeaf(root, { notBefore: new Date(now + DAY), notAfter: new Date(now + 2 * DAY) });
  expect(() => verify([early])).toThrowWithCode('certificate.not_yet_valid');
  const ended = await makeAuthority('ended', {
    issuer: root,
    notBefore: new Date(now - 3 * DAY),
    notAfter: new Date(now - DAY),
  });
  const below = await makeLeaf(ended);
  expect(() => verify([below, derOf(ended)])).toThrowWithCode('certificate.expired');
  const endedRoot = await makeAuthority('ended root', {
    notBefore: new Date(now - 3 * DAY),
    notAfter: new Date(now - DAY),
  });
  const belowRoot = await makeLeaf(endedRoot);
  expect(() => verify([belowRoot], [endedRoot])).toThrowWithCode('certificate.expired');
});

test('the first and the last second of a certificate are of its life', async () => {
  const [from, to] = [new Date('2026-01-01T00:00:00Z'), new Date('2026-02-01T00:00:00Z')];
  const old = await makeAuthority('old', { notBefore: new Date('2020-01-01'), notAfter: new Date('2030-01-01') });
  const certificate = await makeLeaf(old, { notBefore: from, notAfter: to });
  for (const now of [from, to]) expect(() => verify([certificate], [old], now)).not.toThrow();
  expect(() => verify([certificate], [old], new Date(+from - 1))).toThrowWithCode('certificate.not_yet_valid');
  expect(() => verify([certificate], [old], new Date(+to + 1))).toThrowWithCode('certificate.expired');
});

test('a certificate for another purpose', async () => {
  const client = await makeLeaf(root, { usages: ['1.3.6.1.5.5.7.3.2'] });
  expect(() => verify([client])).toThrowWithCode('certificate.usage');
  const any = await makeLeaf(root, { usages: ['2.5.29.37.0'] });
  expect(() => verify([any])).toThrowWithCode('certificate.usage');
});

test('an unknown critical extension, on the leaf or above it', async () => {
  const strange = await makeLeaf(root, { extensions: [new Extension('1.2.3.4', true, Buffer.from('0500', 'hex'))] });
  expect(() => verify([strange])).toThrowWithCode('certificate.critical_extension');
  const harmless = await makeLeaf(root, { extensions: [new Extension('1.2.3.4', false, Buffer.from('0500', 'hex'))] });
  expect(() => verify([harmless])).not.toThrow();
  const limited = await makeAuthority('limited', {
    issuer: root,
    extensions: [new Extension('2.5.29.30', true, Buffer.from('3000', 'hex'))],
  });
  const below = await makeLeaf(limited);
  expect(() => verify([below, derOf(limited)])).toThrowWithCode('certificate.critical_extension');
});

test('an extension twice', async () => {
  const twice = await makeLeaf(root, { extensions: [new ExtendedKeyUsageExtension([PURPOSE])] });
  expect(() => verify([twice])).toThrowWithCode('certificate.malformed');
});

test('a signature with SHA-1', async () => {
  const weak = await makeLeaf(root, { hash: 'SHA-1' });
  expect(() => verify([weak])).toThrowWithCode('certificate.weak_signature');
});

describe('weak keys', () => {
  const rsa = (modulusLength: number): Buffer =>
    generateKeyPairSync('rsa', { modulusLength }).publicKey.export({ format: 'der', type: 'spki' });

  test('RSA-1024', async () => {
    const small = await makeLeaf(root, { publicKey: rsa(1024) });
    expect(() => parseCertificate(small)).toThrowWithCode('certificate.weak_key');
  });

  test('RSA-16384 certificate: refused before it is verified', async () => {
    const huge = await makeLeaf(root, {
      publicKey: rsaSpki(Buffer.concat([Buffer.from([0x80]), randomBytes(2046), Buffer.from([1])])),
    });
    expect(new X509Certificate(huge).publicKey.algorithm).toMatchObject({ name: 'RSASSA-PKCS1-v1_5' });
    const verifications = jest.spyOn(NodeCertificate.prototype, 'verify');
    expect(() => verify([huge])).toThrowWithCode('certificate.weak_key');
    expect(() => verify([leaf, huge])).toThrowWithCode('certificate.weak_key');
    const bits = verifications.mock.calls.map(([key]) => key.asymmetricKeyDetails?.modulusLength ?? 0);
    verifications.mockRestore();
    expect(bits.filter((length) => length > 4096)).toEqual([]);
  });

  test('ROCA', async () => {
    const weak = await makeLeaf(root, { publicKey: rsaSpki(rocaModulus(4242)) });
    expect(() => verify([weak])).toThrowWithCode('certificate.weak_key');
  });

  test('RSA with exponent 3', async () => {
    const weak = await makeLeaf(root, {
      publicKey: rsaSpki(Buffer.concat([Buffer.from([0x80]), randomBytes(254), Buffer.from([1])]), 3),
    });
    expect(() => verify([weak])).toThrowWithCode('certificate.weak_key');
  });

  test.each(['secp224r1', 'secp256k1', 'brainpoolP256r1'])('curve %s', async (namedCurve) => {
    const certificate = await makeLeaf(root, {
      publicKey: generateKeyPairSync('ec', { namedCurve }).publicKey.export({ format: 'der', type: 'spki' }),
    });
    expect(() => verify([certificate])).toThrowWithCode('certificate.weak_key');
  });

  test('Ed25519', async () => {
    const certificate = await makeLeaf(root, {
      publicKey: generateKeyPairSync('ed25519').publicKey.export({ format: 'der', type: 'spki' }),
    });
    expect(() => verify([certificate])).toThrowWithCode('certificate.weak_key');
  });

  test('of a root: refused for what it is', async () => {
    const weak = { certificate: certificatePem(await makeLeaf(root, { publicKey: rsa(1024) })), privateKey: '' };
    expect(() => verify([leaf], [weak])).toThrowWithCode('certificate.weak_key');
  });

  test('RSA-4096 is taken, and nothing longer', async () => {
    const modulus = (bytes: number): Buffer =>
      Buffer.concat([Buffer.from([0x80]), randomBytes(bytes - 2), Buffer.from([1])]);
    const largest = await makeLeaf(root, { publicKey: rsaSpki(modulus(512)) });
    expect(() => verify([largest])).not.toThrow();
    const larger = await makeLeaf(root, { publicKey: rsaSpki(modulus(513)) });
    expect(() => verify([larger])).toThrowWithCode('certificate.weak_key');
  });

  test('RSA-2048, P-384 and P-521 are taken', async () => {
    const ec = (namedCurve: string): Buffer =>
      generateKeyPairSync('ec', { namedCurve }).publicKey.export({ format: 'der', type: 'spki' });
    for (const publicKey of [rsa(2048), ec('P-384'), ec('P-521')]) {
      const certificate = await makeLeaf(root, { publicKey });
      expect(() => verify([certificate])).not.toThrow();
    }
  });
});

test('a certificate of 16 KiB is read, and none that is larger', async () => {
  const sized = (size: number): Promise<Buffer> =>
    makeLeaf(root, { extensions: [new Extension('1.2.3.4', false, new Uint8Array(size))] });
  // The signature's own length differs by a byte or two.
  const wanted = async (length: number): Promise<Buffer> => {
    for (let size = 15_000; ;) {
      const certificate = await sized(size);
      if (certificate.length === length) return certificate;
      size += length - certificate.length;
    }
  };
  const [largest, larger] = [await wanted(16 * 1024), await wanted(16 * 1024 + 1)];
  expect(() => parseCertificate(largest)).not.toThrow();
  expect(() => parseCertificate(larger)).toThrowWithCode('certificate.malformed');
});

test('bytes beside the certificate, PEM instead of DER, too many bytes: malformed', () => {
  expect(() => parseCertificate(Buffer.concat([leaf, Buffer.alloc(1)]))).toThrowWithCode('certificate.malformed');
  expect(() => parseCertificate(Buffer.from(root.certificate))).toThrowWithCode('certificate.malformed');
  expect(() => parseCertificate(Buffer.alloc(20_000))).toThrowWithCode('certificate.malformed');
  expect(() => verifyChain({ certificates: [leaf], roots: ['no PEM'], now: new Date() })).toThrowWithCode(
    'certificate.malformed',
  );
});

test('our fields are those that another library reads', async () => {
  const other = new X509Certificate(leaf);
  const fields = readCertificateFields(leaf);
  expect(fields.notBefore).toEqual(other.notBefore);
  expect(fields.notAfter).toEqual(other.notAfter);
  expect([...fields.extensions.keys()]).toEqual(other.extensions.map(({ type }) => type));
  expect(fields.keyUsage).toBe(other.getExtension(KeyUsagesExtension)?.usages);
  expect(readCertificateFields(derOf(intermediate)).basicConstraints).toEqual({ ca: true, pathLength: 0 });
  const late = await makeLeaf(root, { notAfter: new Date(Date.UTC(2060, 0, 31, 23, 59, 58)) });
  expect(readCertificateFields(late).notAfter).toEqual(new Date(Date.UTC(2060, 0, 31, 23, 59, 58)));
});

test('mutated certificates give an error or are not verified', () => {
  const hashOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
  fc.assert(
    fc.property(fc.nat(leaf.length - 1), fc.integer({ min: 0, max: 255 }), fc.boolean(), (at, byte, cut) => {
      const mutated = cut ? leaf.subarray(0, at) : Buffer.from(leaf);
      if (!cut) mutated[at] = byte;
      try {
        readCertificateFields(mutated);
      } catch (error) {
        expect(error).toBeInstanceOf(BytesError);
      }
      if (hashOf(mutated) === hashOf(leaf)) return;
      expect(() => verify([mutated, derOf(intermediate)])).toThrow(CertificateError);
    }),
    { numRuns: 3000 },
  );
});
