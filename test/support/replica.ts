import { credentials } from '@grpc/grpc-js';
import type { AccountBackend } from '../../core/accounts/backend';
import { openAuthority } from '../../core/certificates/authority';
import type { CertifiedKey } from '../../core/certificates/authority';
import { EnclaveRegistry } from '../../core/enclaves/enclaves';
import { startServer } from '../../core/rpc/server';
import type { Enclave, Launcher } from '../../functions/login/launcher/launcher';
import { loginService } from '../../functions/login/service';
import { LoginTrust } from '../../functions/login/trust';
import { accountService } from '../../functions/signup/service';
import { AccountServiceClient, AccountServiceService } from '../../proto/gen/licensing/v1/account';
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
  stop(): Promise<void>;
}

/** @param enclaveOf where a user's enclave is, once it is started */
export async function startReplica(
  files: AccountFiles,
  clientCa: CertifiedKey,
  enclaveOf: (user: string) => Promise<Enclave>,
  { launcher, enclaveLimit = 4, ...options }: Parameters<typeof openReplica>[1] & { launcher?: Partial<Launcher>; enclaveLimit?: number } = {},
): Promise<Replica> {
  const backend = await openReplica(files, options);
  const authority = await openAuthority(clientCa);
  const { TRUST_BUNDLE_FILE: trustBundle, REVOCATION_KEYS_FILE: revocationKeys } = files.settings;
  const implementation = loginService({
    backend,
    authority: () => Promise.resolve(authority),
    trust: await LoginTrust.open({ trustBundle, revocationKeys }, backend.database),
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
    ],
  });
  const account = new AccountServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
  const login = new LoginServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
  return {
    backend,
    port: server.port,
    account,
    login,
    async stop() {
      account.close();
      login.close();
      await server.stop(0);
      await backend.close();
    },
  };
}
