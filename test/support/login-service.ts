import { credentials, status } from '@grpc/grpc-js';
import type { AccountBackend } from '../../licensing/accounts/backend';
import { createAuthority, openAuthority } from '../../licensing/authority/authority';
import { EnclaveRegistry } from '../../licensing/enclaves/enclaves';
import type { RpcError } from '../../runtime/rpc/errors';
import { startServer } from '../../runtime/rpc/server';
import type { Enclave, LaunchOptions } from '../../functions/login/launcher/launcher';
import { loginService } from '../../functions/login/service';
import { loadTrustFiles, LoginTrust } from '../../functions/login/trust';
import { LoginServiceClient, LoginServiceService } from '../../proto/gen/licensing/v1/login';
import type { LoginRequest } from '../../proto/gen/licensing/v1/login';
import { beginSession, openReplica, TRUST_DOMAIN, writeAccountFiles } from './accounts';
import type { AccountFiles } from './accounts';
import { testDatabase } from './postgres';
import { startEnclaveEndpoint } from './enclave-endpoint';
import type { EnclaveEndpoint, EnclaveEndpointOptions } from './enclave-endpoint';
import { fakeLauncher } from './launcher';
import { logIn, newClientKey } from './login-client';
import type { ClientKey } from './login-client';
import type { EnclaveId } from '../../attestation/evidence/enclave-name';
import type { CertifiedKey } from '../../runtime/keys/key-pair';

export const PASSWORD = 'correct horse battery';

/** Stands at the seam where launchers are plugged in: says what the test tells it to, and remembers what it was asked. */
export class ToldLauncher {
  discarded: Enclave[] = [];
  ensured = 0;
  next: (options: LaunchOptions) => Promise<Enclave> = () => Promise.reject(new Error('no enclave was set'));

  ensure(_enclave: EnclaveId, options: LaunchOptions): Promise<Enclave> {
    this.ensured += 1;
    return this.next(options);
  }

  discard(_enclave: EnclaveId, enclave: Enclave): Promise<void> {
    this.discarded.push(enclave);
    return Promise.resolve();
  }
}

/** LoginService with a user, alice, whose password is `PASSWORD`. Each test has a launcher and a session of its own. */
export class LoginUnderTest {
  client!: LoginServiceClient;
  launcher = new ToldLauncher();
  token = '';
  refreshToken = '';
  private stopServer!: () => Promise<void>;
  private endpoints: EnclaveEndpoint[] = [];

  private constructor(
    readonly files: AccountFiles,
    readonly backend: AccountBackend,
    readonly clientCa: CertifiedKey,
    readonly key: ClientKey,
    /** Opaque id. */
    readonly user: string,
  ) {}

  /** @param options otherwise than by default */
  static async start(options: { loginsPerAccount?: number } = {}): Promise<LoginUnderTest> {
    const database = await testDatabase();
    const files = await writeAccountFiles(database.url);
    const backend = await openReplica(files);
    const clientCa = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
    const user = (await backend.accounts.create('alice', await backend.hasher.hash(PASSWORD)))!;
    const service = new LoginUnderTest(files, backend, clientCa, await newClientKey(), user);
    const authority = await openAuthority(clientCa);
    const implementation = loginService({
      backend,
      authority: () => Promise.resolve(authority),
      trust: new LoginTrust({ ...(await loadTrustFiles(files.settings)), database: backend.database }),
      launcher: fakeLauncher({
        ensure: (...args) => service.launcher.ensure(...args),
        discard: (...args) => service.launcher.discard(...args),
      }),
      enclaves: new EnclaveRegistry(backend.database),
      enclaveLimit: () => Promise.resolve(4),
      patience: { startedMs: 10_000, runningMs: 1_500 },
      ...options,
    });
    const server = await startServer({
      address: { scheme: 'http', host: '127.0.0.1', port: 0 },
      services: [{ definition: LoginServiceService, implementation }],
    });
    service.client = new LoginServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
    service.stopServer = async () => {
      await server.stop(0);
      await backend.close();
      await files.remove();
      await database.stop();
    };
    return service;
  }

  async stop(): Promise<void> {
    this.client.close();
    await this.stopServer();
  }

  async beginTest(): Promise<void> {
    this.launcher = new ToldLauncher();
    ({ accessToken: this.token, refreshToken: this.refreshToken } = await beginSession(this.backend, this.user));
  }

  async endTest(): Promise<void> {
    await Promise.all(this.endpoints.map((endpoint) => endpoint.stop()));
    this.endpoints = [];
  }

  /** An enclave of alice's, which the launcher names from now on. */
  async enclave(options: Partial<EnclaveEndpointOptions> = {}): Promise<EnclaveEndpoint> {
    const endpoint = await startEnclaveEndpoint({ user: this.user, clientCa: this.clientCa.certificate, ...options });
    this.endpoints.push(endpoint);
    this.launcher.next = () => Promise.resolve(endpoint.location);
    return endpoint;
  }

  async refusalOf(request: LoginRequest): Promise<RpcError> {
    const outcome = await logIn(this.client, request).then(
      () => undefined,
      (error: RpcError) => error,
    );
    if (!outcome) throw new Error('expected a refusal, got a login');
    return outcome;
  }

  /** Code and status. */
  async refusal(request: LoginRequest): Promise<string> {
    const error = await this.refusalOf(request);
    return `${error.code} ${status[error.grpcStatus]}`;
  }
}
