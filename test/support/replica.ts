import { credentials } from '@grpc/grpc-js';
import type { AccountBackend } from '../../core/accounts/backend';
import { openAuthority } from '../../core/certificates/authority';
import type { CertifiedKey } from '../../core/certificates/authority';
import { EnclaveRegistry } from '../../core/enclaves/enclaves';
import { startServer } from '../../core/rpc/server';
import type { Enclave, Launcher } from '../../functions/login/launcher/launcher';
import { licenceService } from '../../functions/login/licences';
import { loginService } from '../../functions/login/service';
import { LoginTrust } from '../../functions/login/trust';
import { accountService } from '../../functions/signup/service';
import { AccountServiceClient, AccountServiceService } from '../../proto/gen/licensing/v1/account';
import { LicenceServiceClient, LicenceServiceService } from '../../proto/gen/licensing/v1/licence';
import { LoginServiceClient, LoginServiceService } from '../../proto/gen/licensing/v1/login';
import { openReplica } from './accounts';
import type { AccountFiles } from './accounts';
import { fakeLauncher } from './launcher';

/** One replica of signup and one of login, as they run beside others on one database. */
export interface Replica {
  backend: AccountBackend;
  port: number;
  account: AccountServiceClient;
  login: LoginServiceClient;
  licences: LicenceServiceClient;
  stop(): Promise<void>;
}

export interface ReplicaOptions {
  launcher?: Partial<Launcher>;
  enclaveLimit?: number;
  licenceRequired?: boolean;
}

/** @param enclaveOf where a user's enclave is, once it is started */
export async function startReplica(
  files: AccountFiles,
  clientCa: CertifiedKey,
  enclaveOf: (user: string) => Promise<Enclave>,
  { launcher, enclaveLimit = 4, licenceRequired = false, ...options }: Parameters<typeof openReplica>[1] & ReplicaOptions = {},
): Promise<Replica> {
  const backend = await openReplica(files, options);
  const authority = await openAuthority(clientCa);
  const { TRUST_BUNDLE_FILE: trustBundle, REVOCATION_KEYS_FILE: revocationKeys } = files.settings;
  const trust = await LoginTrust.open({ trustBundle, revocationKeys }, backend.database);
  const implementation = loginService({
    backend,
    authority: () => Promise.resolve(authority),
    trust,
    licenceRequired,
    launcher: fakeLauncher({ ensure: (enclave) => enclaveOf(enclave.user), ...launcher }),
    enclaves: new EnclaveRegistry(backend.database),
    enclaveLimit: () => Promise.resolve(enclaveLimit),
    patience: { startedMs: 2_000, runningMs: 400 },
  });
  const server = await startServer({
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    services: [
      { definition: AccountServiceService, implementation: accountService(backend) },
      { definition: LoginServiceService, implementation },
      { definition: LicenceServiceService, implementation: licenceService({ backend, trust, required: licenceRequired }) },
    ],
  });
  const account = new AccountServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
  const login = new LoginServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
  const licences = new LicenceServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
  return {
    backend,
    port: server.port,
    account,
    login,
    licences,
    async stop() {
      account.close();
      login.close();
      licences.close();
      await server.stop(0);
      await backend.close();
    },
  };
}
