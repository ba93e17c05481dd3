import type { handleUnaryCall, MethodDefinition, ServerWritableStream } from '@grpc/grpc-js';
import type { AuditLog } from '../../licensing/audit/log';
import { serverStream, unary } from '../../runtime/rpc/handlers';
import type { CallContext } from '../../runtime/rpc/handlers';
import { AdminServiceService } from '../../proto/gen/licensing/v1/admin';
import type { AdminServiceServer } from '../../proto/gen/licensing/v1/admin';
import { readAuditLog, tailAudit } from './audit';
import { authenticateAdministrator, requireStillAdministrator } from './authentication';
import type { Administrator, AuthenticationOptions } from './authentication';
import type { Enclaves } from './enclaves/enclaves';
import { issueLicenceKey, issuedLicences, licenceUse, revokeIssuedLicence } from './licences';
import type { LicenceIssuer } from './licences';
import { approveNode, listNodes } from './nodes';
import { orphansOf, permit } from './orphans';
import { restoreSubject, revocationsOf, revokeSubject } from './revocations';
import { resetSecondFactor } from './second-factor';
import { deleteUser } from './users';
import type { Implementation } from '../../runtime/rpc/handlers';

interface AdminOptions extends AuthenticationOptions, LicenceIssuer {
  enclaves: Enclaves;
  log: AuditLog;
}

type Unary<Method extends keyof AdminServiceServer> =
  AdminServiceServer[Method] extends handleUnaryCall<infer Request, infer Response>
    ? (request: Request, administrator: Administrator, context: CallContext) => Promise<Response>
    : never;

type Streaming = 'tailAudit' | 'readAuditLog';

/** What each method does for an administrator: nothing here is reached by anyone else. */
type Handlers = { [Method in Exclude<keyof typeof AdminServiceService, Streaming>]: Unary<Method> };

/** AdminService. Every method of its definition is authenticated in one place: one that is added later is too. */
export function adminService(options: AdminOptions): Implementation<AdminServiceServer> {
  const { database, enclaves, log, clock } = options;
  const handlers: Handlers = {
    listNodes: async () => ({ nodes: await listNodes(database) }),
    approveNode: async (request, administrator) => ({
      previousEkSha256: await approveNode(database, administrator, request),
    }),
    revoke: (request, administrator, context) => revokeSubject(database, enclaves, administrator, request, context.log),
    restore: (request, administrator) => restoreSubject(database, administrator, request),
    resetSecondFactor: (request, administrator) => resetSecondFactor(database, administrator, request),
    deleteUser: (request, administrator, context) =>
      deleteUser(database, enclaves, administrator, request, context.log),
    listOrphans: async () => ({ orphans: await orphansOf(database) }),
    permitOrphans: (request, administrator) => permit(options, administrator, request),
    listRevocations: async () => ({ revocations: await revocationsOf(database) }),
    issueLicence: (request, administrator) => issueLicenceKey(options, administrator, request),
    listLicences: (request) => issuedLicences(options, request),
    revokeLicence: async (request, administrator) => ({
      changed: await revokeIssuedLicence(database, administrator, request),
    }),
    reportLicences: (request) => licenceUse(options, request),
    getAuditTreeHead: async () => ({ head: (await log.update()).signed }),
  };
  const authenticate = async <Request>(
    method: MethodDefinition<Request, unknown>,
    request: Request,
    context: CallContext,
  ): Promise<Administrator> => {
    const administrator = await authenticateAdministrator(
      context.metadata,
      { method: method.path, request: method.requestSerialize(request) },
      options,
    );
    await context.takeTurnOf(`administrator ${administrator.name}`);
    context.log.info({ administrator: administrator.name, method: method.path }, 'administrator');
    return administrator;
  };
  const guarded = Object.entries(handlers).map(([name, handle]) => {
    const method = AdminServiceService[name as keyof Handlers] as MethodDefinition<unknown, unknown>;
    const call = handle as (request: unknown, administrator: Administrator, context: CallContext) => Promise<unknown>;
    return [
      name,
      unary(async (request, context) => {
        const answer = await call(request, await authenticate(method, request, context), context);
        log.nudge();
        return answer;
      }),
    ];
  });
  const streaming = <Request, Response>(
    name: Streaming,
    stream: (call: ServerWritableStream<Request, Response>, context: CallContext) => Promise<void>,
  ) =>
    serverStream<Request, Response>(async (call, context) => {
      await authenticate(
        AdminServiceService[name] as unknown as MethodDefinition<Request, unknown>,
        call.request,
        context,
      );
      await stream(call, context);
    });
  const streams: Pick<Implementation<AdminServiceServer>, Streaming> = {
    tailAudit: streaming('tailAudit', (call, { signal, metadata }) =>
      tailAudit(call, signal, { database, log, clock, admitted: () => requireStillAdministrator(metadata, options) }),
    ),
    readAuditLog: streaming('readAuditLog', (call, { signal }) => readAuditLog(call, signal, log)),
  };
  return {
    ...(Object.fromEntries(guarded) as unknown as Omit<Implementation<AdminServiceServer>, Streaming>),
    ...streams,
  } as Implementation<AdminServiceServer>;
}
