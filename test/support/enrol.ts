import { randomBytes } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import { createAuthority } from '../../licensing/authority/authority';
import { parseAddress } from '../../runtime/rpc/address';
import { RpcError } from '../../runtime/rpc/errors';
import { unary } from '../../runtime/rpc/handlers';
import { startServer } from '../../runtime/rpc/server';
import { makeCredential } from '../../attestation/tpm/credential';
import { endorsementKeyHash, parseEndorsementKey } from '../../attestation/tpm/endorsement';
import { parsePublic, publicName } from '../../attestation/tpm/public';
import { EnrolServiceService } from '../../proto/gen/licensing/v1/enrol';
import type { BeginEnrolmentRequest, EnrolServiceServer } from '../../proto/gen/licensing/v1/enrol';
import { issueAttestationKeyCertificate } from '../../licensing/authority/attestation-key';
import type { CertifiedKey } from '../../runtime/keys/key-pair';
import type { Implementation } from '../../runtime/rpc/handlers';

export interface TrustingEnrol {
  address: ReturnType<typeof parseAddress>;
  ca: CertifiedKey;
  /** Every request that began an enrolment. */
  requests: BeginEnrolmentRequest[];
  /** Enrolments that were completed. */
  completed: number;
  stop(): Promise<void>;
}

/** Certifies any key that its TPM proves to hold, whoever made the TPM: for tests of what comes after enrolment. */
export async function startTrustingEnrol(
  socket: string,
  options: { ca?: CertifiedKey; days?: number; trustDomain?: string } = {},
): Promise<TrustingEnrol> {
  const { days = 7, trustDomain = 'test.local' } = options;
  const ca = options.ca ?? (await createAuthority({ commonName: 'attestation', trustDomain, years: 1 }));
  const address = parseAddress(`unix:${socket}`);
  const secrets = new Map<string, { secret: Buffer; request: BeginEnrolmentRequest }>();
  const state = { requests: [] as BeginEnrolmentRequest[], completed: 0 };
  const implementation: Implementation<EnrolServiceServer> = {
    beginEnrolment: unary(async (request) => {
      state.requests.push(request);
      const secret = randomBytes(32);
      const challenge = randomBytes(16).toString('hex');
      secrets.set(challenge, { secret, request });
      return {
        ...makeCredential(parseEndorsementKey(request.ekPublic), publicName(parsePublic(request.akPublic)), secret),
        challenge,
      };
    }),
    completeEnrolment: unary(async ({ challenge, secret }) => {
      const begun = secrets.get(challenge);
      if (begun === undefined || !begun.secret.equals(secret))
        throw new RpcError('enrol.secret', status.UNAUTHENTICATED, 'another secret');
      state.completed++;
      const certificate = await issueAttestationKeyCertificate({
        ca,
        trustDomain,
        node: begun.request.node,
        akPublic: begun.request.akPublic,
        details: {
          ekSha256: endorsementKeyHash(parseEndorsementKey(begun.request.ekPublic)),
          manufacturer: 'id:00001014',
          model: 'swtpm',
          firmware: '1',
          software: true,
        },
        days,
      });
      return { akCertificates: [certificate] };
    }),
  };
  const server = await startServer({ address, services: [{ definition: EnrolServiceService, implementation }] });
  return Object.assign(state, { address, ca, stop: () => server.stop(0) });
}
