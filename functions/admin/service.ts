import { setTimeout as sleep } from 'node:timers/promises';
import type { handleServerStreamingCall, handleUnaryCall, MethodDefinition, ServerWritableStream } from '@grpc/grpc-js';
import { readAudit } from '../../core/audit/audit';
import { logger } from '../../core/log/logger';
import { serverStream, unary, writeMessage } from '../../core/rpc/handlers';
import type { CallContext } from '../../core/rpc/handlers';
import { AdminServiceService } from '../../proto/gen/licensing/v1/admin';
import type { AdminServiceServer, TailAuditRequest, TailAuditResponse } from '../../proto/gen/licensing/v1/admin';
import { authenticateAdministrator } from './authentication';
import type { Administrator, AuthenticationOptions } from './authentication';
import type { Enclaves } from './enclaves/enclaves';
import { issue, issuedLicences, report, revoke } from './licences';
import type { LicenceIssuer } from './licences';
import { approveNode, listNodes } from './nodes';
import { restoreSubject, revocationsOf, revokeSubject } from './revocations';
import { resetSecondFactor } from './second-factor';
import { deleteUser } from './users';

export interface AdminOptions extends AuthenticationOptions, LicenceIssuer {
  enclaves: Enclaves;
}

type Unary<Method extends keyof AdminServiceServer> = AdminServiceServer[Method] extends handleUnaryCall<infer Request, infer Response>
  ? (request: Request, administrator: Administrator) => Promise<Response>
  : never;

/** What each method does for an administrator: nothing here is reached by anyone else. */
type Handlers = { [Method in Exclude<keyof typeof AdminServiceService, 'tailAudit'>]: Unary<Method> };

/** AdminService. Every method of its definition is authenticated in one place: one that is added later is too. */
export function adminService(options: AdminOptions): AdminServiceServer {
  const { database, enclaves } = options;
  const handlers: Handlers = {
    listNodes: async () => ({ nodes: await listNodes(database) }),
    approveNode: async (request, administrator) => ({ previousEkSha256: await approveNode(database, administrator, request) }),
    revoke: (request, administrator) => revokeSubject(database, enclaves, administrator, request),
    restore: (request, administrator) => restoreSubject(database, administrator, request),
    resetSecondFactor: (request, administrator) => resetSecondFactor(database, administrator, request),
    deleteUser: (request, administrator) => deleteUser(database, enclaves, administrator, request),
    listRevocations: async () => ({ revocations: await revocationsOf(database) }),
    issueLicence: (request, administrator) => issue(options, administrator, request),
    listLicences: (request) => issuedLicences(database, request),
    revokeLicence: async (request, administrator) => ({ changed: await revoke(database, administrator, request) }),
    reportLicences: (request) => report(database, request),
  };
  const authenticate = async <Request>(method: MethodDefinition<Request, unknown>, request: Request, { metadata }: CallContext): Promise<Administrator> => {
    const administrator = await authenticateAdministrator(metadata, { method: method.path, request: method.requestSerialize(request) }, options);
    logger.info({ administrator: administrator.name, method: method.path }, 'administrator');
    return administrator;
  };
  const guarded = Object.entries(handlers).map(([name, handle]) => {
    const method = AdminServiceService[name as keyof Handlers] as MethodDefinition<unknown, unknown>;
    const call = handle as (request: unknown, administrator: Administrator) => Promise<unknown>;
    return [name, unary(async (request, context) => call(request, await authenticate(method, request, context)))];
  });
  const tailAudit: handleServerStreamingCall<TailAuditRequest, TailAuditResponse> = serverStream(async (call, context) => {
    await authenticate(AdminServiceService.tailAudit as MethodDefinition<TailAuditRequest, unknown>, call.request, context);
    await streamAudit(call, context.signal, database);
  });
  return { ...(Object.fromEntries(guarded) as unknown as Omit<AdminServiceServer, 'tailAudit'>), tailAudit } as AdminServiceServer;
}

const PAGE = 200;
const FOLLOW_MS = 1_000;

async function streamAudit(call: ServerWritableStream<TailAuditRequest, TailAuditResponse>, signal: AbortSignal, database: AdminOptions['database']): Promise<void> {
  let { after } = call.request;
  while (!signal.aborted) {
    const records = await readAudit(database, { after, limit: PAGE });
    for (const { id, at, kind, detail } of records) {
      await writeMessage(call, { id, at: BigInt(at.getTime()), kind, detail: JSON.stringify(detail) });
      after = id;
    }
    if (records.length === PAGE) continue;
    if (!call.request.follow) return;
    await sleep(FOLLOW_MS, undefined, { signal }).catch(() => undefined);
  }
}
