import { status } from '@grpc/grpc-js';
import { recordAudit } from '../../licensing/audit/audit';
import { listRevocations, restore, revoke } from '../../licensing/revocation/store';
import type { RevocationKind } from '../../licensing/revocation/store';
import { RpcError } from '../../runtime/rpc/errors';
import { toUnixSeconds } from '../../runtime/rpc/unix-time';
import type { Database } from '../../licensing/store/database';
import type { Revocation, RevocationSubject, RevokeRequest } from '../../proto/gen/licensing/v1/admin';
import type { Administrator } from './authentication';
import type { Enclaves } from './enclaves/enclaves';
import { requireNodeName } from './nodes';
import { requireReason, requireSha256 } from './requests';
import { requireUserId, userNamed } from './users';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';

const KINDS = { node: 'node', attestationKey: 'ak', endorsementKey: 'ek', user: 'user' } as const;
const CASES = { node: 'node', ak: 'attestationKey', ek: 'endorsementKey', user: 'user' } as const;

interface Subject {
  kind: RevocationKind;
  subject: string;
}

interface Changed {
  subject: RevocationSubject;
  changed: boolean;
}

/**
 * Revokes. A user's enclave is ended as well, also when the user was revoked before: what failed the first time is done by trying again.
 * @throws RpcError INVALID_ARGUMENT; NOT_FOUND admin.no_such_user; UNAVAILABLE admin.enclave_not_ended: the revocation stands all the same
 */
export async function revokeSubject(
  database: Database,
  enclaves: Enclaves,
  { name }: Administrator,
  request: RevokeRequest,
  log: Logger = silent,
): Promise<Changed> {
  const subject = await readSubject(database, request);
  const reason = requireReason(request.reason);
  const changed = await database.transaction(async (queries) => {
    const first = await revoke(queries, { ...subject, revokedBy: name, reason });
    if (first)
      await recordAudit(queries, {
        kind: 'admin.revoke',
        detail: { administrator: name, subject: `${subject.kind}/${subject.subject}`, reason },
      });
    return first;
  });
  if (subject.kind === 'user') await endEnclave(enclaves, subject.subject, log);
  return { subject: toMessage(subject), changed };
}

/** Takes a revocation back. @throws RpcError INVALID_ARGUMENT; NOT_FOUND admin.no_such_user */
export async function restoreSubject(
  database: Database,
  { name }: Administrator,
  request: RevokeRequest,
): Promise<Changed> {
  const subject = await readSubject(database, request);
  const reason = requireReason(request.reason);
  const changed = await database.transaction(async (queries) => {
    const was = await restore(queries, subject.kind, subject.subject);
    if (was)
      await recordAudit(queries, {
        kind: 'admin.restore',
        detail: { administrator: name, subject: `${subject.kind}/${subject.subject}`, reason },
      });
    return was;
  });
  return { subject: toMessage(subject), changed };
}

export async function revocationsOf(database: Database): Promise<Revocation[]> {
  return (await listRevocations(database)).map(({ revokedAt, revokedBy, reason, ...subject }) => ({
    subject: toMessage(subject),
    revokedAt: toUnixSeconds(revokedAt),
    revokedBy,
    reason,
  }));
}

async function endEnclave(enclaves: Enclaves, user: string, log: Logger): Promise<void> {
  try {
    await enclaves.end(user);
  } catch (cause) {
    log.error({ err: cause, user }, 'an enclave of a revoked user was not ended');
    throw new RpcError(
      'admin.enclave_not_ended',
      status.UNAVAILABLE,
      'the user is revoked, but their enclave could not be ended: try again',
      { cause },
    );
  }
}

async function readSubject(
  database: Database,
  { subject: message, username }: Pick<RevokeRequest, 'subject' | 'username'>,
): Promise<Subject> {
  const named = message?.subject;
  if ((named === undefined) === (username === '')) {
    throw new RpcError('admin.subject', status.INVALID_ARGUMENT, 'expected one subject: a node, a key or a user');
  }
  if (named === undefined) return { kind: 'user', subject: await userNamed(database, username) };
  const { $case, value } = named;
  switch ($case) {
    case 'node':
      return { kind: 'node', subject: requireNodeName(value) };
    case 'attestationKey':
    case 'endorsementKey':
      return { kind: KINDS[$case], subject: requireSha256(value) };
    case 'user':
      return { kind: 'user', subject: requireUserId(value) };
  }
}

function toMessage({ kind, subject }: Subject): RevocationSubject {
  return { subject: { $case: CASES[kind], value: subject } };
}
