import { status } from '@grpc/grpc-js';
import type { Metadata } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';
import type { Database } from '../../licensing/store/database';
import {
  ADMIN_PROOF_KEY,
  AdminProofError,
  readCertificate,
  verifyAdminProof,
} from '../../attestation/tokens/admin-proof';
import type { AdminCall } from '../../attestation/tokens/admin-proof';
import { dateOf } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';

/** Proofs are kept beyond their end by this, for clocks of function and database that differ. */
const KEEP_SECONDS = 300;

export interface AuthenticationOptions {
  database: Database;
  /** The admin CA's certificates, PEM, as they are now. */
  rootsPem(): Promise<string>;
  trustDomain: string;
  clock: Clock;
}

export interface Administrator {
  name: string;
}

/**
 * Who makes this call: by a proof over the call itself, taken once, on whichever replica it is shown.
 * @throws RpcError UNAUTHENTICATED with the code of AdminProofError, or `admin.proof_replayed`
 */
export function authenticateAdministrator(
  metadata: Metadata,
  call: AdminCall,
  options: AuthenticationOptions,
): Promise<Administrator> {
  const { database, trustDomain, clock } = options;
  return asRefusal(async () => {
    const { name, jti, expiresAt } = await verifyAdminProof(proofIn(metadata), call, {
      rootsPem: await options.rootsPem(),
      trustDomain,
      now: dateOf(clock),
    });
    await useOnce(database, jti, expiresAt);
    return { name };
  });
}

/**
 * That whoever made a call that goes on is an administrator still: their certificate has not ended, nor has the admin CA been replaced.
 * @throws RpcError UNAUTHENTICATED admin.certificate
 */
export async function requireStillAdministrator(
  metadata: Metadata,
  { rootsPem, trustDomain, clock }: AuthenticationOptions,
): Promise<void> {
  const context = { rootsPem: await rootsPem(), trustDomain, now: dateOf(clock) };
  await asRefusal(async () => readCertificate(proofIn(metadata) ?? '', context));
}

/** Two proofs would be two readers' choice. */
function proofIn(metadata: Metadata): string | undefined {
  const proofs = metadata.get(ADMIN_PROOF_KEY);
  return proofs.length === 1 ? String(proofs[0]) : undefined;
}

async function asRefusal<T>(look: () => Promise<T>): Promise<T> {
  try {
    return await look();
  } catch (error) {
    if (!(error instanceof AdminProofError)) throw error;
    throw new RpcError(error.code, status.UNAUTHENTICATED, error.message, { cause: error });
  }
}

async function useOnce(database: Database, jti: string, expiresAt: Date): Promise<void> {
  const rows = await database.query(
    'INSERT INTO admin_proofs (jti, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING jti',
    [jti, expiresAt],
  );
  if (rows.length === 0)
    throw new RpcError('admin.proof_replayed', status.UNAUTHENTICATED, 'the proof was used before');
  await database.query(`DELETE FROM admin_proofs WHERE expires_at < now() - make_interval(secs => $1)`, [KEEP_SECONDS]);
}
