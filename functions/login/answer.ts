import type { ServerWritableStream } from '@grpc/grpc-js';
import type { Entitlement } from '../../licensing/licences/entitlement';
import type { Evidence } from '../../proto/gen/licensing/v1/evidence';
import type { LoginRequest, LoginResponse, LoginResult, LoginStage } from '../../proto/gen/licensing/v1/login';
import { toUnixSeconds } from '../../runtime/rpc/unix-time';
import type { Tokens } from './authenticate';
import type { Enclave } from './launcher/launcher';

/** Tells the client how its login goes on: each stage once, in its order. A second launch after a lost enclave is told by the wait. */
export function tellStages(
  call: ServerWritableStream<LoginRequest, LoginResponse>,
  signal: AbortSignal,
): (stage: LoginStage) => void {
  let told = 0;
  return (stage) => {
    if (stage <= told || signal.aborted) return;
    told = stage;
    call.write({ event: { $case: 'progress', value: { stage } } });
  };
}

interface Answer {
  user: string;
  tokens: Tokens;
  clientCertificates: Buffer[];
  enclave: Enclave;
  evidence: Evidence;
  revocations: string;
  entitlement: Entitlement | undefined;
  /** Of this login, in the audit log. */
  record: Buffer;
}

/** What a login gives, as it crosses the wire. */
export function answer({ user, tokens, entitlement, record, enclave, ...rest }: Answer): LoginResult {
  const { workloadUid, node, endpoint, tlsAddress } = enclave;
  return {
    clientCertificates: rest.clientCertificates,
    evidence: rest.evidence,
    revocations: rest.revocations,
    accessToken: tokens.accessToken,
    accessTokenExpiresAt: BigInt(tokens.accessTokenExpiresAt),
    refreshToken: tokens.refreshToken ?? '',
    refreshTokenExpiresAt: BigInt(tokens.refreshTokenExpiresAt ?? 0),
    enclave: { user, workloadUid, node, endpoint, tlsAddress },
    licence: entitlement && {
      licence: entitlement.licence,
      plan: entitlement.plan,
      until: toUnixSeconds(entitlement.until),
      graceUntil: toUnixSeconds(entitlement.graceUntil),
    },
    receipt: { record },
  };
}
