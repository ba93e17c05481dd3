import { randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import { sha256 } from '../../attestation/crypto';
import { BytesError } from '../../attestation/bytes/reader';
import { CertificateError } from '../../attestation/certificates/errors';
import { EvidenceError } from '../../attestation/evidence/errors';
import { checkAkAttributes } from '../../attestation/evidence/steps/attestation-key';
import { RpcError } from '../../runtime/rpc/errors';
import { unary } from '../../runtime/rpc/handlers';
import type { Database } from '../../licensing/store/database';
import { makeCredential } from '../../attestation/tpm/credential';
import { endorsementKeyHash, parseEndorsementKey } from '../../attestation/tpm/endorsement';
import { TpmError } from '../../attestation/tpm/errors';
import { attestationKeyName } from '../../attestation/tpm/attestation-key';
import { parsePublic } from '../../attestation/tpm/public';
import type { TpmPublic } from '../../attestation/tpm/public';
import type { BeginEnrolmentRequest, EnrolServiceServer } from '../../proto/gen/licensing/v1/enrol';
import { openChallenge, sealChallenge } from './challenge';
import { verifyEndorsement } from './endorsement-certificate';
import type { EndorsementTrust, TpmDetails } from './endorsement-certificate';
import { recordEnrolment } from './nodes';
import { issueAttestationKeyCertificate } from '../../licensing/authority/attestation-key';
import { dateOf, systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';
import type { Implementation } from '../../runtime/rpc/handlers';

export interface EnrolOptions {
  database: Database;
  /** PEM. Asked for at each certificate, because authorities are rotated. */
  authority(): Promise<{ certificate: string; privateKey: string }>;
  trust: EndorsementTrust;
  /** 32 bytes. */
  sealKey: Uint8Array;
  trustDomain: string;
  certificateDays: number;
  /** The clock; tests set it. */
  /** The system's, unless told. */
  clock?: Clock;
}

const SECRET_BYTES = 32;
const MAX_PUBLIC_AREA_BYTES = 1024;
/** RFC 1123 subdomain, as Kubernetes names nodes. */
const NODE_NAME = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/;

/**
 * Certifies attestation keys, by these steps (TPM 2.0 Part 1, 24):
 * 1. the endorsement key is one that a trusted maker certified, or that the operator listed;
 * 2. the attestation key's attributes bind it to a TPM and to what the TPM itself makes;
 * 3. the secret of a credential for both keys comes back, which only the TPM that holds both can open;
 * 4. the node's name is new, or belongs to this TPM.
 * Between the two calls nothing is kept: what was found out travels in the challenge, sealed.
 */
export function enrolService(options: EnrolOptions): Implementation<EnrolServiceServer> {
  const { database, sealKey, trustDomain, certificateDays, clock = systemClock } = options;
  return {
    beginEnrolment: unary(async (request) => {
      const { ek, ak, tpm } = refusing(() => judge(request, options.trust, dateOf(clock)));
      const secret = randomBytes(SECRET_BYTES);
      const challenge = await sealChallenge(
        {
          jti: randomUUID(),
          node: request.node,
          ak: ak.bytes.toString('base64'),
          secretSha256: sha256(secret).toString('hex'),
          ekSha256: endorsementKeyHash(ek),
          tpm,
        },
        sealKey,
        dateOf(clock),
      );
      return { ...makeCredential(ek, attestationKeyName(ak), secret), challenge };
    }),

    completeEnrolment: unary(async ({ challenge: sealed, secret }, { log }) => {
      const challenge = await openChallenge(sealed, sealKey, dateOf(clock));
      if (!timingSafeEqual(sha256(secret), Buffer.from(challenge.secretSha256, 'hex'))) {
        throw new RpcError(
          'enrol.secret',
          status.UNAUTHENTICATED,
          'expected the secret of this challenge, got another one',
        );
      }
      const ak = parsePublic(Buffer.from(challenge.ak, 'base64'));
      const { jti, exp, node, ekSha256, tpm } = challenge;
      await recordEnrolment(database, {
        jti,
        exp,
        node,
        ekSha256,
        akSha256: attestationKeyName(ak).subarray(2).toString('hex'),
        tpm,
      });
      const certificate = await issueAttestationKeyCertificate({
        ca: await options.authority(),
        trustDomain,
        node,
        akPublic: ak.bytes,
        details: { ekSha256, ...tpm },
        days: certificateDays,
        now: dateOf(clock),
      });
      log.info({ node, ekSha256, software: tpm.software }, 'certified an attestation key');
      return { akCertificates: [certificate] };
    }),
  };
}

function judge(
  request: BeginEnrolmentRequest,
  trust: EndorsementTrust,
  now: Date,
): { ek: TpmPublic; ak: TpmPublic; tpm: TpmDetails } {
  if (!NODE_NAME.test(request.node))
    throw new RpcError(
      'enrol.node_name',
      status.INVALID_ARGUMENT,
      'expected a node name as in RFC 1123, got something else',
    );
  if (request.ekPublic.length > MAX_PUBLIC_AREA_BYTES || request.akPublic.length > MAX_PUBLIC_AREA_BYTES) {
    throw new RpcError(
      'enrol.malformed',
      status.INVALID_ARGUMENT,
      `expected public areas of ${MAX_PUBLIC_AREA_BYTES} bytes at most`,
    );
  }
  const ek = parseEndorsementKey(request.ekPublic);
  const tpm = judgeEndorsement(ek, request.ekCertificates, trust, now);
  const ak = parsePublic(request.akPublic);
  checkAkAttributes(ak);
  attestationKeyName(ak);
  return { ek, ak, tpm };
}

function judgeEndorsement(
  ek: TpmPublic,
  certificates: readonly Buffer[],
  trust: EndorsementTrust,
  now: Date,
): TpmDetails {
  const hash = endorsementKeyHash(ek);
  const listed = trust.hashes.get(hash);
  // The operator vouches for the key and says what it is: a certificate adds nothing to that.
  if (listed !== undefined)
    return { manufacturer: 'listed by the operator', model: '', firmware: '', software: listed.software };
  if (certificates.length === 0) {
    throw new RpcError(
      'enrol.ek_unknown',
      status.PERMISSION_DENIED,
      `expected a certificate of the endorsement key, got none: if you know this TPM by other means, set EK_HASHES_FILE of enrol to a file that lists ${hash}`,
    );
  }
  return verifyEndorsement(ek, certificates, trust, now);
}

type Underscored<C> = C extends `${infer Subject}.${infer Reason}` ? `${Subject}_${Reason}` : never;

/** What the layers below refuse, as what the attestor may read. */
function refusing<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof CertificateError) {
      throw new RpcError(
        `enrol.ek_${error.code.replace('.', '_') as Underscored<typeof error.code>}`,
        status.PERMISSION_DENIED,
        `endorsement key's certificate: ${error.message}`,
        { cause: error },
      );
    }
    if (error instanceof BytesError) {
      throw new RpcError(
        'enrol.ek_certificate_malformed',
        status.PERMISSION_DENIED,
        "endorsement key's certificate: expected well-formed names",
        { cause: error },
      );
    }
    if (error instanceof EvidenceError)
      throw new RpcError('enrol.ak_attributes', status.PERMISSION_DENIED, `attestation key: ${error.message}`, {
        cause: error,
      });
    if (error instanceof TpmError)
      throw new RpcError('enrol.malformed', status.INVALID_ARGUMENT, error.message, { cause: error });
    throw error;
  }
}
