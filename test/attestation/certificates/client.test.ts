import 'reflect-metadata';
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, webcrypto, X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import fc from 'fast-check';
import { createAuthority, openAuthority, signEndEntity } from '../../../licensing/authority/authority';
import { CertificateRequestError } from '../../../licensing/authority/request';
import { DER, encodeDer } from '../../../attestation/bytes/der';
import { exportSpki } from '../../../attestation/crypto';
import { verifyClientCertificate } from '../../../attestation/certificates/client';
import { CertificateError } from '../../../attestation/certificates/errors';
import { readCertificateFields } from '../../../attestation/certificates/fields';
import { writeCertificate } from '../../support/maker-certificate';
import { encodePoint } from '../../support/points';
import { makeAuthority, makeLeaf } from '../../support/authority';
import type { LeafOptions } from '../../support/authority';
import { P256 } from '../../../runtime/keys/key-pair';
import { issueClientCertificate } from '../../../licensing/authority/client';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';

const trustDomain = 'sls.test';
const user = '6b3c9a52-6e0e-4a3e-9df1-5c9d6f0f2a11';
const session = 'b7d3a1c8-0000-4000-8000-000000000001';
const options = { user, session, trustDomain, seconds: 3600 };
const verification = {
  trustDomain,
  get now(): Date {
    return new Date();
  },
};

let authority: CertifiedKey;
let keys: webcrypto.CryptoKeyPair;
let csr: Buffer;

async function request(pair: webcrypto.CryptoKeyPair, extra: object = {}, algorithm: object = P256): Promise<Buffer> {
  const made = await x509.Pkcs10CertificateRequestGenerator.create({
    name: 'CN=client',
    keys: pair,
    signingAlgorithm: algorithm as never,
    ...extra,
  });
  return Buffer.from(made.rawData);
}

async function pair(algorithm: object = P256): Promise<webcrypto.CryptoKeyPair> {
  return (await webcrypto.subtle.generateKey(algorithm as never, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
}

async function leaf(changes: object, signer: CertifiedKey = authority): Promise<Buffer> {
  const certificate = await signEndEntity(await openAuthority(signer), {
    publicKey: keys.publicKey,
    name: [],
    alternativeNames: [{ type: 'url', value: `spiffe://${trustDomain}/user/${user}/session/${session}` }],
    extendedKeyUsage: [x509.ExtendedKeyUsage.clientAuth],
    seconds: 3600,
    now: new Date(),
    ...changes,
  });
  return Buffer.from(certificate.rawData);
}

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof CertificateError) return error.code;
    throw error;
  }
  return 'accepted';
}

async function csrRefusal(der: Uint8Array): Promise<string> {
  try {
    await issueClientCertificate(authority, der, options);
  } catch (error) {
    if (error instanceof CertificateRequestError) return error.code;
    throw error;
  }
  return 'accepted';
}

beforeAll(async () => {
  authority = await createAuthority({ commonName: 'client CA', trustDomain, years: 1 });
  keys = await pair();
  csr = await request(keys);
});

describe('a client certificate', () => {
  test('names the user and the session, and holds the key of the request', async () => {
    const chain = await issueClientCertificate(authority, csr, options);
    const verified = verifyClientCertificate(chain, authority.certificate, verification);
    expect(verified).toMatchObject({ user, session });
    expect(verified.publicKey.export({ format: 'der', type: 'spki' })).toEqual(
      Buffer.from(await webcrypto.subtle.exportKey('spki', keys.publicKey)),
    );
    const seconds = (verified.notAfter.getTime() - Date.now()) / 1000;
    expect(seconds).toBeGreaterThan(3590);
    expect(seconds).toBeLessThanOrEqual(3600);
  });

  test("takes nothing of the request's but its key", async () => {
    const greedy = await request(keys, {
      name: 'CN=root, O=admin',
      extensions: [
        new x509.BasicConstraintsExtension(true, 3, true),
        new x509.SubjectAlternativeNameExtension([
          { type: 'url', value: `spiffe://${trustDomain}/user/victim/session/x` },
        ]),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      ],
    });
    const [der] = await issueClientCertificate(authority, greedy, options);
    const certificate = new X509Certificate(der!);
    expect(certificate.subject ?? '').toBe('');
    expect(certificate.ca).toBe(false);
    expect(certificate.keyUsage).toEqual([x509.ExtendedKeyUsage.clientAuth]);
    expect(certificate.subjectAltName).toBe(`URI:spiffe://${trustDomain}/user/${user}/session/${session}`);
  });

  test.each(['compressed', 'hybrid'] as const)(
    'has one encoding of its key, where the request has a %s point: it is known by the hash',
    async (form) => {
      const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const spki = pair.publicKey.export({ format: 'der', type: 'spki' });
      const info = encodeDer(
        DER.SEQUENCE,
        encodeDer(DER.INTEGER, Buffer.from([0])),
        encodeDer(DER.SEQUENCE),
        encodePoint(spki, 'prime256v1', '1.2.840.10045.3.1.7', form),
        encodeDer(0xa0),
      );
      const algorithm = Buffer.from('300a06082a8648ce3d040302', 'hex');
      const signature = encodeDer(DER.BIT_STRING, Buffer.from([0]), sign('sha256', info, pair.privateKey));
      const request = encodeDer(DER.SEQUENCE, info, algorithm, signature);
      const [der] = await issueClientCertificate(authority, request, options);
      expect(der!.includes(spki)).toBe(true);
      const { publicKey } = verifyClientCertificate([der!], authority.certificate, verification);
      expect(exportSpki(publicKey)).toEqual(spki);
      // A certificate that was issued with the point as it came has the same key, known by the same hash.
      const asItCame = writeCertificate(authority, {
        publicKey: encodePoint(spki, 'prime256v1', '1.2.840.10045.3.1.7', form),
        issuerName: readCertificateFields(new X509Certificate(authority.certificate).raw).subject.der,
        extensions: ['2.5.29.17', '2.5.29.37'].map((oid) => ({
          oid,
          value: readCertificateFields(der!).extensions.get(oid)!.value,
        })),
      });
      const old = verifyClientCertificate([asItCame], authority.certificate, verification);
      expect(exportSpki(old.publicKey)).toEqual(spki);
    },
  );

  test('lives an hour at most', async () => {
    await expect(issueClientCertificate(authority, csr, { ...options, seconds: 3601 })).rejects.toThrow(
      'expected 1 to 3600 seconds',
    );
  });

  test('never holds a user or session that changes the meaning of its URI', async () => {
    for (const name of ['../x', 'a/b', '', 'a\0b', 'a\nb', '.', 'a%2fb', 'a?b', 'ä']) {
      await expect(issueClientCertificate(authority, csr, { ...options, user: name })).rejects.toThrow('SPIFFE ID');
      await expect(issueClientCertificate(authority, csr, { ...options, session: name })).rejects.toThrow('SPIFFE ID');
    }
  });
});

describe('a request is refused', () => {
  test('when its signature is broken, or by another key', async () => {
    const broken = Buffer.from(csr);
    broken[broken.length - 1]! ^= 1;
    expect(await csrRefusal(broken)).toBe('certificate.csr_signature');
    const other = await pair();
    expect(await csrRefusal(await request({ publicKey: keys.publicKey, privateKey: other.privateKey }))).toBe(
      'certificate.csr_signature',
    );
  });

  test('when its key is not P-256', async () => {
    const p384 = { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' };
    expect(await csrRefusal(await request(await pair(p384), {}, p384))).toBe('certificate.csr_key');
    const rsa = {
      name: 'RSASSA-PKCS1-v1_5',
      hash: 'SHA-256',
      modulusLength: 2048,
      publicExponent: new Uint8Array([1, 0, 1]),
    };
    expect(await csrRefusal(await request(await pair(rsa), {}, rsa))).toBe('certificate.csr_key');
  });

  test('when it is empty, too large or no request at all', async () => {
    expect(await csrRefusal(Buffer.alloc(0))).toBe('certificate.csr_malformed');
    expect(await csrRefusal(Buffer.alloc(4097))).toBe('certificate.csr_malformed');
    expect(await csrRefusal(Buffer.from('hello'))).toBe('certificate.csr_malformed');
    expect(await csrRefusal(await leaf({}))).toMatch(/^certificate\.csr_/);
  });

  test('after a fixed number of looks: what is in its subject and attributes is not parsed, and may be no DER at all', async () => {
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const make = (subject: Buffer, algorithm = '300a06082a8648ce3d040302', after = Buffer.alloc(0)): Buffer => {
      const info = encodeDer(
        DER.SEQUENCE,
        encodeDer(DER.INTEGER, Buffer.from([0])),
        encodeDer(DER.SEQUENCE, subject),
        pair.publicKey.export({ format: 'der', type: 'spki' }),
        subject,
      );
      const signature = encodeDer(DER.BIT_STRING, Buffer.from([0]), sign('sha256', info, pair.privateKey));
      return Buffer.concat([encodeDer(DER.SEQUENCE, info, Buffer.from(algorithm, 'hex'), signature), after]);
    };
    // A thousand sequences in one another, and none of them ends.
    const nested = Buffer.from('30802480'.repeat(400), 'hex');
    expect(await issueClientCertificate(authority, make(nested), options)).toHaveLength(1);
    expect(await csrRefusal(make(nested, '300a06082a8648ce3d040303'))).toBe('certificate.csr_signature');
    expect(await csrRefusal(make(nested, '300a06082a8648ce3d040302', Buffer.from([0])))).toBe(
      'certificate.csr_malformed',
    );
  });

  test('with a typed error, whatever its bytes are', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(csr.length - 1), fc.integer({ min: 1, max: 255 }), fc.nat(3), async (at, flip, cut) => {
        const mutated = Buffer.from(csr.subarray(0, csr.length - cut));
        if (at < mutated.length) mutated[at]! ^= flip;
        expect(await csrRefusal(mutated)).toMatch(
          at < mutated.length || cut > 0 ? /^certificate\.csr_|accepted/ : /^accepted$/,
        );
      }),
      { numRuns: 300 },
    );
  });
});

describe('a client certificate is refused', () => {
  test('when another authority of the same name signed it', async () => {
    const other = await createAuthority({ commonName: 'client CA', trustDomain, years: 1 });
    const chain = await issueClientCertificate(other, csr, options);
    expect(refusal(() => verifyClientCertificate(chain, authority.certificate, verification))).toBe(
      'certificate.untrusted',
    );
    expect(verifyClientCertificate(chain, [authority.certificate, other.certificate], verification).user).toBe(user);
  });

  test('when an end-entity certificate signed it', async () => {
    const middle = await leaf({});
    const privateKey = createPrivateKey({
      key: Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)),
      format: 'der',
      type: 'pkcs8',
    });
    const forged = await x509.X509CertificateGenerator.create({
      issuer: '',
      subject: '',
      publicKey: keys.publicKey,
      signingKey: await webcrypto.subtle.importKey(
        'pkcs8',
        privateKey.export({ format: 'der', type: 'pkcs8' }),
        P256,
        false,
        ['sign'],
      ),
      signingAlgorithm: P256,
      extensions: [
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]),
        new x509.SubjectAlternativeNameExtension(
          [{ type: 'url', value: `spiffe://${trustDomain}/user/victim/session/x` }],
          true,
        ),
      ],
    });
    const chain = [Buffer.from(forged.rawData), middle];
    expect(refusal(() => verifyClientCertificate(chain, authority.certificate, verification))).toBe(
      'certificate.not_a_ca',
    );
  });

  test('before and after its time', async () => {
    const chain = await issueClientCertificate(authority, csr, options);
    const at = (seconds: number): object => ({ trustDomain, now: new Date(Date.now() + seconds * 1000) });
    expect(refusal(() => verifyClientCertificate(chain, authority.certificate, at(3601) as never))).toBe(
      'certificate.expired',
    );
    expect(refusal(() => verifyClientCertificate(chain, authority.certificate, at(-400) as never))).toBe(
      'certificate.not_yet_valid',
    );
  });

  test('when it is for another purpose, for two, or is the authority itself', async () => {
    const server = await leaf({ extendedKeyUsage: [x509.ExtendedKeyUsage.serverAuth] });
    const both = await leaf({ extendedKeyUsage: [x509.ExtendedKeyUsage.clientAuth, x509.ExtendedKeyUsage.serverAuth] });
    const root = new X509Certificate(authority.certificate).raw;
    for (const der of [server, both]) {
      expect(refusal(() => verifyClientCertificate([der], authority.certificate, verification))).toBe(
        'certificate.usage',
      );
    }
    expect(refusal(() => verifyClientCertificate([root], authority.certificate, verification))).toBe(
      'certificate.is_a_ca',
    );
  });

  test('when its name is of another trust domain, of another form, or one of two', async () => {
    const url = (...values: string[]): object => ({
      alternativeNames: values.map((value) => ({ type: 'url', value })),
    });
    const good = `spiffe://${trustDomain}/user/${user}/session/${session}`;
    for (const names of [
      url(`spiffe://other.test/user/${user}/session/${session}`),
      url(`spiffe://${trustDomain}/node/n1`),
      url(`${good}/x`),
      url(good, good),
      { alternativeNames: [{ type: 'dns', value: 'user' }] },
    ]) {
      const der = await leaf(names);
      expect(refusal(() => verifyClientCertificate([der], authority.certificate, verification))).toBe(
        'certificate.name',
      );
    }
  });

  test('when its key is not P-256', async () => {
    const spki = generateKeyPairSync('ec', { namedCurve: 'secp384r1' }).publicKey.export({
      format: 'der',
      type: 'spki',
    });
    const der = await leaf({
      publicKey: await new x509.PublicKey(new Uint8Array(spki)).export({ name: 'ECDSA', namedCurve: 'P-384' }, [
        'verify',
      ]),
    });
    expect(refusal(() => verifyClientCertificate([der], authority.certificate, verification))).toBe(
      'certificate.weak_key',
    );
  });

  test('when there is none, there are too many, it is too large, or bytes follow it', async () => {
    const der = await leaf({});
    for (const chain of [
      [],
      Array<Buffer>(7).fill(der),
      [Buffer.alloc(16_385)],
      [Buffer.concat([der, Buffer.alloc(1)])],
      [Buffer.from('x')],
    ]) {
      expect(refusal(() => verifyClientCertificate(chain, authority.certificate, verification))).toBe(
        'certificate.malformed',
      );
    }
  });

  test('with a typed error, whatever its bytes are', async () => {
    const der = await leaf({});
    fc.assert(
      fc.property(fc.nat(der.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const mutated = Buffer.from(der);
        mutated[at]! ^= flip;
        expect(refusal(() => verifyClientCertificate([mutated], authority.certificate, verification))).toMatch(
          /^certificate\./,
        );
      }),
      { numRuns: 1000 },
    );
  });
});

/** What verifyChain refuses, on client certificates below an authority of a test's own. */
describe('a client certificate is refused as every other chain is', () => {
  const identity = new x509.SubjectAlternativeNameExtension([
    { type: 'url', value: `spiffe://${trustDomain}/user/${user}/session/${session}` },
  ]);
  type Authority = Awaited<ReturnType<typeof makeAuthority>>;
  const der = ({ certificate }: Authority): Buffer => new X509Certificate(certificate).raw;
  const client = (issuer: Authority, options: LeafOptions = {}): Promise<Buffer> =>
    makeLeaf(issuer, {
      usages: [x509.ExtendedKeyUsage.clientAuth],
      ...options,
      extensions: [identity, ...(options.extensions ?? [])],
    });
  const verify = (chain: Buffer[], root: Authority): string =>
    refusal(() => verifyClientCertificate(chain, root.certificate, { trustDomain, now: new Date() }));
  const strange = (oid: string, hex: string): x509.Extension => new x509.Extension(oid, true, Buffer.from(hex, 'hex'));
  let root: Authority;
  beforeAll(async () => {
    root = await makeAuthority('client root');
  });

  test('but not without a reason: by way of an authority below the root it is taken', async () => {
    const middle = await makeAuthority('middle', { issuer: root, pathLength: 0 });
    expect(verify([await client(middle), der(middle)], root)).toBe('accepted');
    expect(verify([await client(root)], root)).toBe('accepted');
  });

  test('more authorities than the path length allows', async () => {
    const strict = await makeAuthority('strict', { pathLength: 0 });
    const child = await makeAuthority('child', { issuer: strict });
    expect(verify([await client(child), der(child)], strict)).toBe('certificate.path_length');
    const middle = await makeAuthority('middle', { issuer: root, pathLength: 0 });
    const lower = await makeAuthority('lower', { issuer: middle });
    expect(verify([await client(lower), der(lower), der(middle)], root)).toBe('certificate.path_length');
  });

  test('an unknown critical extension, on the leaf, above it, on the root', async () => {
    expect(verify([await client(root, { extensions: [strange('1.2.3.4', '0500')] })], root)).toBe(
      'certificate.critical_extension',
    );
    const limited = await makeAuthority('limited', { issuer: root, extensions: [strange('2.5.29.30', '3000')] });
    expect(verify([await client(limited), der(limited)], root)).toBe('certificate.critical_extension');
    const limitedRoot = await makeAuthority('limited root', { extensions: [strange('2.5.29.30', '3000')] });
    expect(verify([await client(limitedRoot)], limitedRoot)).toBe('certificate.critical_extension');
  });

  test('a signature with SHA-1', async () => {
    expect(verify([await client(root, { hash: 'SHA-1' })], root)).toBe('certificate.weak_signature');
  });

  test('a weak key: of the leaf, of an authority', async () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'der', type: 'spki' });
    expect(verify([await client(root, { publicKey: rsa })], root)).toBe('certificate.weak_key');
    const weak = await makeLeaf(root, { publicKey: rsa, ca: true, keyUsages: x509.KeyUsageFlags.keyCertSign });
    expect(verify([await client(root), weak], root)).toBe('certificate.weak_key');
  });

  test('an authority that may not sign certificates, that has ended, that another one follows', async () => {
    const noSign = await makeAuthority('no sign', { issuer: root, usages: x509.KeyUsageFlags.cRLSign });
    expect(verify([await client(noSign), der(noSign)], root)).toBe('certificate.not_a_ca');
    const ended = await makeAuthority('ended', { notAfter: new Date(Date.now() - 1000) });
    expect(verify([await client(ended)], ended)).toBe('certificate.expired');
    expect(verify([await client(root), der(ended)], root)).toBe('certificate.untrusted');
  });

  test('what makers of TPMs are allowed: bytes behind it, an explicit FALSE', async () => {
    const leaf = await client(root);
    expect(verify([Buffer.concat([leaf, Buffer.alloc(8)])], root)).toBe('certificate.malformed');
    const loose = new x509.Extension('2.5.29.19', false, Buffer.from('3003010100', 'hex'));
    const keys = await webcrypto.subtle.generateKey(P256, true, ['sign', 'verify']);
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      name: 'CN=loose',
      keys,
      signingAlgorithm: P256,
      extensions: [identity, loose, new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth])],
    });
    expect(verify([Buffer.from(certificate.rawData)], root)).toBe('certificate.malformed');
  });
});

test('a public key from a PEM of the authority opens as P-256', () => {
  expect(createPublicKey(authority.certificate).asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
});
