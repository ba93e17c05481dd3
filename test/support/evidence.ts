import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { Claims, Purpose } from '../../proto/gen/licensing/v1/evidence';
import type { Evidence, PcrValue } from '../../proto/gen/licensing/v1/evidence';
import type { AttestationKeyDetails } from '../../attestation/certificates/attestation-key';
import { enclaveOf } from '../../attestation/evidence/enclave-name';
import type { CertificateExpected, Expected, SessionExpected } from '../../attestation/evidence/expected';
import { claimsLeaf } from '../../attestation/evidence/claims';
import { merkleTree } from '../../attestation/transparency/merkle';
import type { VerifyOptions } from '../../attestation/evidence/verify';
import { TPM_ALG } from '../../attestation/tpm/constants';
import { pcrDigest, QUOTED_PCRS, ROOT_PCR, rootPcrValue } from '../../attestation/tpm/pcr';
import { makeAuthority } from './authority';
import type { TestAuthority } from './authority';
import { encodeAttest, encodeEccPublic, signAttest } from './tpm-structures';
import type { AttestOptions, EccPublicOptions } from './tpm-structures';
import { issueAttestationKeyCertificate } from '../../licensing/authority/attestation-key';

export const TRUST_DOMAIN = 'sls.test';
export const NODE = 'node-a';

const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();
export const IMAGE_DIGEST = `sha256:${sha256(Buffer.from('image')).toString('hex')}`;

/**
 * A fake TPM: an attestation key made in software, certified by an authority of the tests' own as if it were in a TPM.
 * It signs whatever it is given, which is what a genuine one never does: forgeries for the verifier to refuse.
 */
export interface FakeTpm {
  authority: TestAuthority & { name: string };
  node: string;
  privateKey: KeyObject;
  /** TPMT_PUBLIC. */
  akPublic: Buffer;
  /** DER. */
  akCertificate: Buffer;
}

export interface FakeTpmOptions {
  authority?: TestAuthority & { name: string };
  node?: string;
  trustDomain?: string;
  details?: Partial<AttestationKeyDetails>;
  /** TPMA_OBJECT and the rest of the attestation key's public area. */
  public?: EccPublicOptions;
  days?: number;
  /** When the certificate is issued. */
  now?: Date;
}

export async function makeFakeTpm(options: FakeTpmOptions = {}): Promise<FakeTpm> {
  const authority = options.authority ?? (await makeAuthority('attestation root'));
  const node = options.node ?? NODE;
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const akPublic = encodeEccPublic(publicKey, options.public);
  const akCertificate = await issueAttestationKeyCertificate({
    ca: authority,
    trustDomain: options.trustDomain ?? TRUST_DOMAIN,
    node,
    akPublic,
    details: {
      ekSha256: 'ab'.repeat(32),
      manufacturer: 'TEST',
      model: 'fake',
      firmware: '1',
      software: false,
      ...options.details,
    },
    days: options.days ?? 7,
    now: options.now,
  });
  return { authority, node, privateKey, akPublic, akCertificate };
}

export interface EvidenceOptions {
  /** Fields of the claims; default: the certificate's purpose, now, five minutes. */
  claims?: Partial<Claims>;
  /** Instead of the encoded claims, before they are hashed into the tree. */
  claimsBytes?: Buffer;
  /** Claims' bytes of others in the same quote, before and after. */
  leavesBefore?: Buffer[];
  leavesAfter?: Buffer[];
  /** Instead of the tree's root, in qualifyingData and in PCR 23. */
  extraData?: Buffer;
  pcr23?: Buffer;
  /** Which PCRs are quoted; default: QUOTED_PCRS. */
  selection?: readonly number[];
  /** Values of other PCRs; zero if left out. */
  pcrs?: Partial<Record<number, Buffer>>;
  /** Fields of the TPMS_ATTEST that is signed. */
  attest?: AttestOptions;
  /** Instead of the encoded TPMS_ATTEST, before it is signed. */
  attestBytes?: Buffer;
  /** Signs instead of the attestation key. */
  signer?: KeyObject;
  enclaveCertificate?: Buffer;
  /** Fields of the evidence, after everything is signed. */
  after?: Partial<Evidence>;
}

export function makeClaims(claims: Partial<Claims> = {}): Claims {
  const now = BigInt(Math.floor(Date.now() / 1000));
  return Claims.fromPartial({
    purpose: Purpose.PURPOSE_CERTIFICATE,
    nonce: randomBytes(32),
    certificateSha256: sha256(ENCLAVE_CERTIFICATE),
    tlsExporter: claims.purpose === Purpose.PURPOSE_SESSION ? randomBytes(32) : Buffer.alloc(0),
    user: '8c0a5f0e-2f0b-4f7e-9a43-0d5c1b1f7a10',
    clientKeySha256: sha256(Buffer.from('client key')),
    workloadUid: '1f6d2c0a-70d4-4f0d-8f1b-2f5a9f5c3b77',
    imageDigest: IMAGE_DIGEST,
    node: NODE,
    issuedAt: now,
    expiresAt: now + 300n,
    ...claims,
  });
}

/** Stands for a certificate: the verifier compares its hash and reads no more of it. */
export const ENCLAVE_CERTIFICATE = Buffer.from('an enclave certificate in DER');

/** Evidence by a fake TPM: genuine-looking, but for what the options say. */
export function makeEvidence(tpm: FakeTpm, options: EvidenceOptions = {}): Evidence {
  const enclaveCertificate = options.enclaveCertificate ?? ENCLAVE_CERTIFICATE;
  const claims =
    options.claimsBytes ??
    Buffer.from(
      Claims.encode(
        makeClaims({ node: tpm.node, certificateSha256: sha256(enclaveCertificate), ...options.claims }),
      ).finish(),
    );
  const before = options.leavesBefore ?? [];
  const leaves = [...before, claims, ...(options.leavesAfter ?? [])];
  const tree = merkleTree(leaves.map(claimsLeaf));
  const pcr23 = options.pcr23 ?? rootPcrValue(tree.root);
  const selection = options.selection ?? QUOTED_PCRS;
  const pcrs: PcrValue[] = selection.map((index) => ({
    index,
    sha256: index === ROOT_PCR ? pcr23 : (options.pcrs?.[index] ?? Buffer.alloc(32)),
  }));
  const attest =
    options.attestBytes ??
    encodeAttest({
      extraData: options.extraData ?? tree.root,
      pcrDigest: pcrDigest(pcrs.map((pcr) => pcr.sha256)),
      pcrSelections: [{ hash: TPM_ALG.SHA256, pcrs: selection }],
      ...options.attest,
    });
  return {
    attest,
    signature: signAttest(options.signer ?? tpm.privateKey, attest),
    akPublic: tpm.akPublic,
    akCertificates: [tpm.akCertificate],
    pcrs,
    claims,
    leafIndex: before.length,
    leafCount: leaves.length,
    merklePath: tree.path(before.length),
    enclaveCertificate,
    ...options.after,
  };
}

/** Options under which the fake TPM's evidence is good. */
export function verifyOptions(tpm: FakeTpm, options: Partial<VerifyOptions> = {}): VerifyOptions {
  return {
    trust: { attestationRoots: [tpm.authority.certificate], trustDomain: TRUST_DOMAIN },
    expected: { situation: 'archived' },
    policy: { softwareTpm: 'refuse' },
    now: new Date(),
    ...options,
  };
}

/** Expectations of these claims' own purpose that they meet, but for what `other` says. */
export function expectedOf(claims: Claims, other: Record<string, unknown> = {}): Expected {
  const { nonce, clientKeySha256, tlsExporter, certificateSha256, user, workloadUid, node, imageDigest } = claims;
  const common = { nonce, clientKeySha256, user, enclave: enclaveOf(claims), workloadUid, node };
  if (claims.purpose !== Purpose.PURPOSE_SESSION)
    return { situation: 'certificate', ...common, ...other } as CertificateExpected;
  const previousClock = { clock: 0n, resetCount: 0, restartCount: 0, safe: true };
  const session = { tlsExporter, certificateSha256, imageDigest, previousClock };
  return { situation: 'session', ...common, ...session, ...other } as SessionExpected;
}
