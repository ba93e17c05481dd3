import { Metadata, status } from '@grpc/grpc-js';
import type { ClientReadableStream, MethodDefinition } from '@grpc/grpc-js';
import { channelCredentials, grpcTarget, parseAddress } from '../../../runtime/rpc/address';
import { callUnary } from '../../../runtime/rpc/client';
import { RpcError } from '../../../runtime/rpc/errors';
import { ADMIN_PROOF_KEY } from '../../../attestation/tokens/admin-proof';
import { certificateTrustDomain } from '../../../attestation/certificates/admin';
import type { TrustBundle } from '../../../attestation/trust/bundle';
import { comparingClocks } from '../../clocks';
import { readSignedTrust } from '../trust';
import { AdminServiceClient, AdminServiceService } from '../../../proto/gen/licensing/v1/admin';
import type {
  ReadAuditLogRequest,
  ReadAuditLogResponse,
  TailAuditRequest,
  TailAuditResponse,
} from '../../../proto/gen/licensing/v1/admin';
import { CliError, EXIT } from '../exit';
import { readInput } from '../input';
import { adminFiles } from './options';
import type { AdminOptions } from './options';
import { signAdminProof } from './proof';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';
import { readText } from '../../../runtime/text/utf8';
import { impatient } from '../../patience';
import { channelTo } from '../../../runtime/rpc/proxy';

/** One that is starting is waited for before it is ended. */
const TIMEOUT_MS = 100_000;

type UnaryName = Exclude<keyof typeof AdminServiceService, 'tailAudit' | 'readAuditLog'>;
type RequestOf<Name extends UnaryName> = Parameters<(typeof AdminServiceService)[Name]['requestSerialize']>[0];
type ResponseOf<Name extends UnaryName> = ReturnType<(typeof AdminServiceService)[Name]['responseDeserialize']>;

/** Calls AdminService as an administrator: every call carries a proof of its own. */
export class AdminCaller {
  private constructor(
    private readonly client: AdminServiceClient,
    private readonly administrator: CertifiedKey,
    private readonly trust: TrustBundle | undefined,
  ) {}

  /** @throws CliError */
  static async open(options: AdminOptions): Promise<AdminCaller> {
    const files = adminFiles(options);
    const hint = 'pass it with --admin-certificate and --admin-key; operators create one with sls admin certificate';
    const administrator = {
      certificate: await readInput(files.certificate, "the administrator's certificate", { hint }),
      privateKey: await readInput(files.key, "the administrator's key", { hint }),
    };
    const address = parseAddress(files.address);
    // Public roots serve where the installation has none of its own: its ingress may have a certificate of a public CA.
    const trust = address.scheme === 'https' ? await installationTrust(files.trustBundle) : undefined;
    const roots = trust?.serverRoots.length ? Buffer.from(trust.serverRoots.join('\n')) : undefined;
    const { target, options: route } = channelTo(address);
    const client: AdminServiceClient = new AdminServiceClient(target, channelCredentials(address, roots), {
      ...route,
      interceptors: [impatient({ name: grpcTarget(address), of: 'service', channel: () => client.getChannel() })],
    });
    return new AdminCaller(client, administrator, trust);
  }

  /** @throws RpcError, CliError */
  async call<Name extends UnaryName>(name: Name, request: RequestOf<Name>): Promise<ResponseOf<Name>> {
    const metadata = await this.prove(name, request);
    const method = this.client[name] as unknown as Parameters<typeof callUnary<RequestOf<Name>, ResponseOf<Name>>>[1];
    const call = (): Promise<ResponseOf<Name>> =>
      callUnary(this.client, method, request, { timeout: TIMEOUT_MS, metadata });
    return explained(this.trust ? comparingClocks(this.trust, {}, call) : call());
  }

  async tailAudit(request: TailAuditRequest): Promise<ClientReadableStream<TailAuditResponse>> {
    return this.client.tailAudit(request, await this.prove('tailAudit', request));
  }

  async readAuditLog(request: ReadAuditLogRequest): Promise<ClientReadableStream<ReadAuditLogResponse>> {
    return this.client.readAuditLog(request, await this.prove('readAuditLog', request));
  }

  close(): void {
    this.client.close();
  }

  private async prove(name: keyof typeof AdminServiceService, request: unknown): Promise<Metadata> {
    const { path, requestSerialize } = AdminServiceService[name] as MethodDefinition<unknown, unknown>;
    const metadata = new Metadata();
    const trustDomain = certificateTrustDomain(this.administrator.certificate);
    metadata.set(
      ADMIN_PROOF_KEY,
      await signAdminProof(this.administrator, { method: path, request: requestSerialize(request) }, { trustDomain }),
    );
    return metadata;
  }
}

/** Opens a caller for what a command does, and closes it. @throws CliError, and what `work` throws */
export async function withCaller(options: AdminOptions, work: (caller: AdminCaller) => Promise<void>): Promise<void> {
  const caller = await AdminCaller.open(options);
  try {
    await work(caller);
  } finally {
    caller.close();
  }
}

async function installationTrust(file: string): Promise<TrustBundle | undefined> {
  const text = await readText(file).catch(() => undefined);
  return text === undefined ? undefined : (await readSignedTrust(file, text)).bundle;
}

async function explained<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (!(error instanceof RpcError) || error.grpcStatus !== status.UNAUTHENTICATED) throw error;
    throw new CliError(
      EXIT.authentication,
      error.message,
      {
        code: error.code,
        hint: "was the administrator's certificate issued by this installation's admin CA, and is this machine's clock right?",
      },
      { cause: error },
    );
  }
}
