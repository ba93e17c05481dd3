import 'reflect-metadata';
import { once } from 'node:events';
import { join, resolve } from 'node:path';
import { Worker } from 'node:worker_threads';
import dgram from 'node:dgram';
import dns from 'node:dns';
import net from 'node:net';
import { generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto';
import { Metadata } from '@grpc/grpc-js';
import { AuthorityInfoAccessExtension, Extension, GeneralName } from '@peculiar/x509';
import { build } from 'esbuild';
import fc from 'fast-check';
import { makePool } from '../../../attestation/certificates/complete-chain';
import { REASON_KEY } from '../../../runtime/rpc/errors';
import type { Database } from '../../../licensing/store/database';
import { publicKeyObject } from '../../../attestation/tpm/public';
import { parseEndorsementKey } from '../../../attestation/tpm/endorsement';
import { verifyEndorsement } from '../../../functions/enrol/endorsement-certificate';
import type { EndorsementTrust } from '../../../functions/enrol/endorsement-certificate';
import { shippedMakerCertificates } from '../../../functions/enrol/maker-certificates';
import { enrolService } from '../../../functions/enrol/service';
import { EnrolServiceService } from '../../../proto/gen/licensing/v1/enrol';
import type { EnrolServiceServer } from '../../../proto/gen/licensing/v1/enrol';
import { BeginEnrolmentRequest } from '../../../proto/gen/licensing/v1/enrol';
import { makeAuthority, makeLeaf } from '../../support/authority';
import type { TestAuthority } from '../../support/authority';
import { madeOnce } from '../../support/run-folder';
import type { EndorsementMutations } from '../../support/endorsement-mutations';
import type { Outcomes } from '../../support/tpm-mutations';
import { startNodeTpm } from '../../support/node-tpm';
import type { NodeTpm } from '../../support/node-tpm';
import { encodeEccPublic } from '../../support/tpm-structures';
import { rsaSpki } from '../../support/weak-keys';
import { Calls } from '../../../runtime/rpc/calls';
import type { Implementation } from '../../../runtime/rpc/handlers';

interface Endorsement {
  /** TPMT_PUBLIC. */
  public: Buffer;
  /** DER. */
  certificate: Buffer;
  /** PEM, of who certified it. */
  roots: string[];
}

/** What one of them leaves behind would be more, so many times. The code alone takes a third. */
const HEAP_MIB = 24;
const MUTATIONS = 10_000;

const KINDS = ['rsa', 'ecc'] as const;
/** NV index of the RSA key's certificate. swtpm certifies no P-256 key: a maker of the tests' own does. */
const INDEX = '0x01c00002';
const EK_PURPOSE = '2.23.133.8.1';

/** directoryName with one attribute, tcg-at-tpmManufacturer. */
const MANUFACTURER = `301ca41a301831163014060567810502010c0b${Buffer.from('id:54455354').toString('hex')}`;
const SOFTWARE = `301ca41a301831163014060567810502010c0b${Buffer.from('id:49424D00').toString('hex')}`;
const alternativeName = (hex: string): Extension => new Extension('2.5.29.17', false, Buffer.from(hex, 'hex'));

let tpm: NodeTpm;
let second: NodeTpm;
const keys: Record<(typeof KINDS)[number], Endorsement> = {} as never;
const secondKeys: typeof keys = {} as never;
type Maker = TestAuthority & { name: string };
let maker: Maker;

async function readKeys(from: NodeTpm, by: Maker, into: typeof keys): Promise<void> {
  for (const kind of KINDS) {
    await from.tool('tpm2_createek', '-Q', '-G', kind, '-c', `${kind}.ctx`, '-u', kind);
    await from.tool('tpm2_flushcontext', '-t');
    const area = (await from.read(kind)).subarray(2);
    if (kind === 'rsa') {
      await from.tool('tpm2_nvread', '-Q', INDEX, '-o', 'certificate');
      into.rsa = { public: area, certificate: await from.read('certificate'), roots: from.caCertificates };
    } else {
      const publicKey = publicKeyObject(parseEndorsementKey(area)).export({ format: 'der', type: 'spki' });
      const certificate = await makeLeaf(by, {
        publicKey,
        usages: [EK_PURPOSE],
        extensions: [alternativeName(MANUFACTURER)],
      });
      into.ecc = { public: area, certificate, roots: [by.certificate] };
    }
  }
}

beforeAll(async () => {
  maker = await makeAuthority('maker');
  [tpm, second] = await Promise.all([startNodeTpm(), startNodeTpm()]);
  await readKeys(tpm, maker, keys);
  await readKeys(second, await makeAuthority('another maker'), secondKeys);
});
afterAll(() => Promise.all([tpm.stop(), second.stop()]));

const trustOf = (roots: readonly string[], intermediates: readonly string[] = []): EndorsementTrust => ({
  roots,
  intermediates: makePool(intermediates),
  hashes: new Map(),
});

/** The attestation key doesn't matter here: a good one. */
const akPublic = encodeEccPublic(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey);

/** Begins an enrolment as an attestor does. @returns undefined, or what it was refused with */
async function begin(trust: EndorsementTrust, ek: Buffer, certificates: readonly Uint8Array[]): Promise<unknown> {
  const service = enrolService({
    database: {} as Database,
    authority: () => Promise.reject(new Error('not asked')),
    trust,
    sealKey: Buffer.alloc(32, 1),
    trustDomain: 'sls.test',
    certificateDays: 7,
  });
  const request = BeginEnrolmentRequest.fromPartial({
    node: 'node-a',
    ekPublic: ek,
    ekCertificates: certificates.map((der) => Buffer.from(der)),
    akPublic,
  });
  return callBegin(service, request);
}

function callBegin(service: Implementation<EnrolServiceServer>, request: BeginEnrolmentRequest): Promise<unknown> {
  const call = {
    request,
    metadata: new Metadata(),
    getPath: () => EnrolServiceService.beginEnrolment.path,
    sendMetadata: () => undefined,
    getPeer: () => 'unix:',
    on: () => undefined,
  };
  return new Promise((resolve) =>
    service.beginEnrolment(new Calls())(call as never, (error) => resolve(error ?? undefined)),
  );
}

const codeOf = (error: unknown): unknown => (error as { metadata: Metadata } | undefined)?.metadata.get(REASON_KEY)[0];

/** SubjectPublicKeyInfo of a genuine endorsement key, for certificates that a maker of the tests' own issues. */
const spkiOf = (kind: (typeof KINDS)[number]): Buffer =>
  publicKeyObject(parseEndorsementKey(keys[kind].public)).export({ format: 'der', type: 'spki' });

describe.each(KINDS)('certificates of a software TPM, %s', (kind) => {
  test('its own is taken, and says which TPM it is', () => {
    const { public: area, certificate, roots } = keys[kind];
    expect(verifyEndorsement(parseEndorsementKey(area), [certificate], trustOf(roots), new Date())).toMatchObject({
      manufacturer: expect.stringMatching(/^id:/),
      software: kind === 'rsa',
    });
  });

  test("a second TPM's, of another maker: refused", async () => {
    const refused = await begin(trustOf(keys[kind].roots), secondKeys[kind].public, [secondKeys[kind].certificate]);
    expect(codeOf(refused)).toBe('enrol.ek_certificate_untrusted');
  });

  test("a genuine certificate beside another TPM's key: refused", async () => {
    const both = trustOf([...keys[kind].roots, ...secondKeys[kind].roots]);
    expect(codeOf(await begin(both, secondKeys[kind].public, [keys[kind].certificate]))).toBe(
      'enrol.ek_certificate_untrusted',
    );
    expect(codeOf(await begin(both, secondKeys[kind].public, [secondKeys[kind].certificate]))).toBeUndefined();
  });
});

describe('certificates that a trusted maker issued', () => {
  const taken = async (options: Parameters<typeof makeLeaf>[1]): Promise<unknown> => {
    const leaf = await makeLeaf(maker, { publicKey: spkiOf('ecc'), usages: [EK_PURPOSE], ...options });
    return codeOf(await begin(trustOf([maker.certificate]), keys.ecc.public, [leaf]));
  };
  test('of an endorsement key: taken', async () => {
    expect(await taken({})).toBeUndefined();
  });

  test('CA certificate as an endorsement key: refused', async () => {
    expect(await taken({ ca: true })).toBe('enrol.ek_certificate_is_a_ca');
  });

  test("of something else than an endorsement key: refused, because makers' roots certify more than TPMs", async () => {
    expect(await taken({ usages: ['1.3.6.1.5.5.7.3.2'] })).toBe('enrol.ek_certificate_usage');
    expect(await taken({ usages: [] })).toBe('enrol.ek_certificate_usage');
    expect(await taken({ usages: [], extensions: [alternativeName(MANUFACTURER)] })).toBeUndefined();
  });

  test('ended, or not begun: refused', async () => {
    expect(await taken({ notAfter: new Date(Date.now() - 1000) })).toBe('enrol.ek_certificate_expired');
    expect(await taken({ notBefore: new Date(Date.now() + 60_000) })).toBe('enrol.ek_certificate_not_yet_valid');
  });

  test('not begun, of a software TPM: taken, because its machine made it by a clock that has been put right since', async () => {
    const early = new Date(Date.now() + 3_600_000);
    const options = { notBefore: early, notAfter: new Date(early.getTime() + 3_600_000) };
    const software = { extensions: [alternativeName(SOFTWARE)] };
    expect(await taken({ ...options, ...software })).toBeUndefined();
    expect(await taken(options)).toBe('enrol.ek_certificate_not_yet_valid');
    expect(await taken({ ...software, notAfter: new Date(Date.now() - 1000) })).toBe('enrol.ek_certificate_expired');
  });

  test("with an alternative name that can't be read: a refusal, not a failure", async () => {
    // A length in a form that OpenSSL reads and DER doesn't allow.
    expect(await taken({ extensions: [alternativeName('3012a41030810d310b300906035504030c026162')] })).toBe(
      'enrol.ek_certificate_malformed',
    );
    for (const hex of ['3006a40430020500', '3004a4020500', '3006a404300231ff']) {
      expect(await taken({ extensions: [alternativeName(hex)] })).toMatch(/^enrol\.ek_certificate_/);
    }
  });
});

test('RSA-16384 certificate: refused before it is verified, as leaf or among the authorities', async () => {
  const huge = await makeLeaf(maker, {
    publicKey: rsaSpki(Buffer.concat([Buffer.from([0x80]), randomBytes(2046), Buffer.from([1])])),
    usages: [EK_PURPOSE],
  });
  const hugeAuthority = await makeLeaf(maker, {
    publicKey: rsaSpki(Buffer.concat([Buffer.from([0x80]), randomBytes(2046), Buffer.from([1])])),
    ca: true,
  });
  const trust = trustOf([maker.certificate]);
  const verifications = jest.spyOn(X509Certificate.prototype, 'verify');
  expect(codeOf(await begin(trust, keys.rsa.public, [huge]))).toBe('enrol.ek_certificate_weak_key');
  // An authority that nothing needs is not looked at; one that the chain leads to is.
  expect(codeOf(await begin(trust, keys.rsa.public, [keys.rsa.certificate, hugeAuthority]))).toBe(
    'enrol.ek_certificate_untrusted',
  );
  const bits = verifications.mock.calls.map(([key]) => key.asymmetricKeyDetails?.modulusLength ?? 0);
  verifications.mockRestore();
  expect(bits.filter((length) => length > 4096)).toEqual([]);
});

test('a thousand certificates, or one of a megabyte: refused before any is verified', async () => {
  const trust = trustOf(tpm.caCertificates);
  const verifications = jest.spyOn(X509Certificate.prototype, 'verify');
  expect(codeOf(await begin(trust, keys.rsa.public, Array<Buffer>(1000).fill(keys.rsa.certificate)))).toBe(
    'enrol.ek_certificate_malformed',
  );
  expect(codeOf(await begin(trust, keys.rsa.public, [Buffer.alloc(1 << 20, 0x30)]))).toBe(
    'enrol.ek_certificate_malformed',
  );
  expect(verifications).not.toHaveBeenCalled();
  verifications.mockRestore();
});

test('an EK certificate whose AIA points at 169.254.169.254: never fetched', async () => {
  const url = 'http://169.254.169.254/latest/meta-data/';
  const middle = await makeAuthority('middle', { issuer: maker });
  const access = new AuthorityInfoAccessExtension({
    caIssuers: new GeneralName('url', url),
    ocsp: new GeneralName('url', url),
  });
  const points = new Extension('2.5.29.31', false, crlPoints(url));
  const leaf = await makeLeaf(middle, { publicKey: spkiOf('ecc'), usages: [EK_PURPOSE], extensions: [access, points] });
  expect(new X509Certificate(leaf).infoAccess).toContain('169.254.169.254');
  const spies = [
    jest.spyOn(net.Socket.prototype, 'connect'),
    jest.spyOn(dns, 'lookup'),
    jest.spyOn(dns.promises, 'lookup'),
    jest.spyOn(dgram.Socket.prototype, 'send'),
    jest.spyOn(globalThis, 'fetch'),
  ];
  try {
    // Without the authority that the address would give, and with it.
    expect(codeOf(await begin(trustOf([maker.certificate]), keys.ecc.public, [leaf]))).toBe(
      'enrol.ek_certificate_untrusted',
    );
    expect(
      codeOf(await begin(trustOf([maker.certificate], [middle.certificate]), keys.ecc.public, [leaf])),
    ).toBeUndefined();
    for (const spy of spies) expect(spy).not.toHaveBeenCalled();
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
});

describe('hostile certificates', () => {
  test.each(KINDS)("mutations of a software TPM's %s certificate: typed refusals only", async (kind) => {
    const { public: area, certificate, roots } = keys[kind];
    const trust = trustOf(roots);
    const change = fc.record({ at: fc.nat(certificate.length - 1), value: fc.integer({ min: 0, max: 255 }) });
    const hostile = fc.oneof(
      fc.array(change, { minLength: 1, maxLength: 8 }).map((changes) => {
        const bytes = Buffer.from(certificate);
        for (const { at, value } of changes) bytes[at] = value;
        return bytes;
      }),
      fc.nat(certificate.length - 1).map((length) => certificate.subarray(0, length)),
      fc.uint8Array({ minLength: 1, maxLength: 64 }).map((tail) => Buffer.concat([certificate, tail])),
      fc
        .tuple(fc.nat(certificate.length), fc.uint8Array({ minLength: 1, maxLength: 16 }))
        .map(([at, middle]) => Buffer.concat([certificate.subarray(0, at), middle, certificate.subarray(at)])),
    );
    await fc.assert(
      fc.asyncProperty(hostile, fc.boolean(), async (bytes, asAuthority) => {
        // Padding behind it is what an index of NVRAM holds.
        const unchanged = isPadded(bytes, certificate);
        const refused = await begin(trust, area, asAuthority ? [certificate, bytes] : [bytes]);
        // An authority beside the leaf that the chain doesn't need harms nobody, if it can be read.
        if (refused === undefined) expect(asAuthority || unchanged).toBe(true);
        else expect(codeOf(refused)).toMatch(/^enrol\.ek_certificate_[a-z_]+$/);
      }),
      { numRuns: 2_000 },
    );
  });

  test.each(KINDS)('many mutations of its %s certificate leave nothing behind: the heap is capped', async (kind) => {
    const folder = await madeOnce('endorsement-mutations', async (draft) => {
      await build({
        stdin: {
          contents: `
            import { parentPort, workerData } from 'node:worker_threads';
            import { verifyMutations } from './test/support/endorsement-mutations';
            parentPort.postMessage(verifyMutations(workerData));`,
          resolveDir: resolve(__dirname, '../../..'),
          loader: 'ts',
        },
        bundle: true,
        platform: 'node',
        outfile: join(draft, 'main.cjs'),
      });
    });
    const { public: area, certificate, roots } = keys[kind];
    const workerData: EndorsementMutations = { area, certificate, roots, mutations: MUTATIONS };
    // The cap is V8's own: a thread that outgrows it ends with an error.
    const thread = new Worker(join(folder, 'main.cjs'), {
      workerData,
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB, maxYoungGenerationSizeMb: 4 },
    });
    const [{ taken, refused }] = (await once(thread, 'message')) as [Outcomes];
    expect(taken + refused).toBe(MUTATIONS);
    expect(refused).toBeGreaterThan(MUTATIONS / 2);
  });

  test('any bytes as endorsement key, certificates and attestation key: a typed refusal', async () => {
    const trust = { ...trustOf(shippedMakerCertificates().roots), hashes: new Map() };
    const bytes = fc.uint8Array({ maxLength: 400 });
    await fc.assert(
      fc.asyncProperty(bytes, fc.array(bytes, { maxLength: 4 }), async (ek, certificates) => {
        expect(codeOf(await begin(trust, Buffer.from(ek), certificates))).toMatch(/^enrol\./);
        if (certificates.length > 0)
          expect(codeOf(await begin(trust, keys.ecc.public, certificates))).toMatch(/^enrol\./);
      }),
      { numRuns: 500 },
    );
  });
});

/** CRLDistributionPoints (RFC 5280, 4.2.1.13) with one URI. */
function crlPoints(url: string): Buffer {
  const wrap = (tag: number, content: Buffer): Buffer => Buffer.concat([Buffer.from([tag, content.length]), content]);
  return wrap(0x30, wrap(0x30, wrap(0xa0, wrap(0xa0, wrap(0x86, Buffer.from(url))))));
}

function isPadded(bytes: Uint8Array, certificate: Buffer): boolean {
  const padding = bytes.subarray(certificate.length);
  return (
    certificate.equals(bytes.subarray(0, certificate.length)) &&
    (padding.every((byte) => byte === 0) || padding.every((byte) => byte === 0xff))
  );
}
