import { credentials } from '@grpc/grpc-js';
import type { AccountBackend } from '../../core/accounts/backend';
import { openAuthority } from '../../core/certificates/authority';
import type { CertifiedKey } from '../../core/certificates/authority';
import { EnclaveRegistry } from '../../core/enclaves/enclaves';
import { Seats } from '../../core/seats/seats';
import { startServer } from '../../core/rpc/server';
import type { Enclave, Launcher } from '../../functions/login/launcher/launcher';
import { licenceService } from '../../functions/login/licences';
import { freeingSeats } from '../../functions/login/seats/launcher';
import { seatPools } from '../../functions/login/seats/pool';
import { seatService } from '../../functions/login/seats/service';
import { seatSigner } from '../../functions/login/seats/signer';
import { loginService } from '../../functions/login/service';
import { LoginTrust } from '../../functions/login/trust';
import { accountService } from '../../functions/signup/service';
import { AccountServiceClient, AccountServiceService } from '../../proto/gen/licensing/v1/account';
import { LicenceServiceClient, LicenceServiceService } from '../../proto/gen/licensing/v1/licence';
import { LoginServiceClient, LoginServiceService } from '../../proto/gen/licensing/v1/login';
import { SeatServiceClient, SeatServiceService } from '../../proto/gen/licensing/v1/seat';
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
  seats: SeatServiceClient;
  /** As login has it. */
  launcher: Launcher;
  stop(): Promise<void>;
}

export interface ReplicaOptions {
  launcher?: Partial<Launcher>;
  enclaveLimit?: number;
  licenceRequired?: boolean;
  defaultSeats?: number;
  seatSeconds?: number;
}

/** @param enclaveOf where a user's enclave is, once it is started */
export async function startReplica(
  files: AccountFiles,
  clientCa: CertifiedKey,
  enclaveOf: (user: string) => Promise<Enclave>,
  { launcher, enclaveLimit = 4, licenceRequired = false, defaultSeats = 16, seatSeconds = 180, ...options }: Parameters<typeof openReplica>[1] & ReplicaOptions = {},
): Promise<Replica> {
  const backend = await openReplica(files, options);
  const authority = await openAuthority(clientCa);
  const { TRUST_BUNDLE_FILE: trustBundle, REVOCATION_KEYS_FILE: revocationKeys } = files.settings;
  const trust = await LoginTrust.open({ trustBundle, revocationKeys }, backend.database);
  const seats = new Seats(backend.database, seatSeconds);
  const freeing = freeingSeats(fakeLauncher({ ensure: (enclave) => enclaveOf(enclave.user), ...launcher }), seats);
  const implementation = loginService({
    backend,
    authority: () => Promise.resolve(authority),
    trust,
    licenceRequired,
    launcher: freeing,
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
      {
        definition: SeatServiceService,
        implementation: seatService({
          backend,
          trust,
          seats,
          windowSeconds: seatSeconds,
          clientRoots: () => Promise.resolve(clientCa.certificate),
          signer: seatSigner(() => Promise.resolve(authority), backend.trustDomain),
          poolOf: seatPools(backend.database, { defaultSeats }),
        }),
      },
    ],
  });
  const account = new AccountServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
  const login = new LoginServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
  const licences = new LicenceServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
  const seatClient = new SeatServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
  return {
    backend,
    port: server.port,
    account,
    login,
    licences,
    seats: seatClient,
    launcher: freeing,
    async stop() {
      account.close();
      login.close();
      licences.close();
      seatClient.close();
      await server.stop(0);
      await backend.close();
    },
  };
}
