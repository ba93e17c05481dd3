import { credentials } from '@grpc/grpc-js';
import type { AccountBackend } from '../../licensing/accounts/backend';
import { countRefusals } from '../../licensing/audit/count-refusals';
import { openAuthority } from '../../licensing/authority/authority';
import { EnclaveRegistry } from '../../licensing/enclaves/enclaves';
import type { OidcSettings } from '../../licensing/oidc/settings';
import { bearerAuthentication } from '../../licensing/sessions/bearer';
import { Seats } from '../../licensing/seats/seats';
import { SeatWatch } from '../../licensing/seats/watch';
import type { Interceptor } from '../../runtime/rpc/call';
import { startServer } from '../../runtime/rpc/server';
import { accountDeletionService } from '../../functions/login/deletion';
import { enclaveLimits } from '../../functions/login/enclave-limit';
import { enclaveManagementService } from '../../functions/login/enclaves';
import type { Enclave, Launcher } from '../../functions/login/launcher/launcher';
import { licenceService } from '../../functions/login/licences';
import { withSeatRelease } from '../../functions/login/seats/launcher';
import { seatPools } from '../../functions/login/seats/pool';
import { seatService } from '../../functions/login/seats/service';
import { seatSigner } from '../../functions/login/seats/signer';
import { loginService } from '../../functions/login/service';
import { transparencyService } from '../../functions/login/transparency';
import { loadTrustFiles, LoginTrust, trustService } from '../../functions/login/trust';
import { accountService } from '../../functions/signup/service';
import {
  AccountDeletionServiceClient,
  AccountDeletionServiceService,
  AccountServiceClient,
  AccountServiceService,
} from '../../proto/gen/licensing/v1/account';
import { EnclaveManagementServiceClient, EnclaveManagementServiceService } from '../../proto/gen/licensing/v1/enclaves';
import { LicenceServiceClient, LicenceServiceService } from '../../proto/gen/licensing/v1/licence';
import { LoginServiceClient, LoginServiceService } from '../../proto/gen/licensing/v1/login';
import { SeatServiceClient, SeatServiceService } from '../../proto/gen/licensing/v1/seat';
import { TransparencyServiceClient, TransparencyServiceService } from '../../proto/gen/licensing/v1/transparency';
import { TrustServiceClient, TrustServiceService } from '../../proto/gen/licensing/v1/trust';
import { openReplica } from './accounts';
import type { AccountFiles } from './accounts';
import { openTestLog } from './audit';
import { fakeLauncher } from './launcher';
import type { CertifiedKey } from '../../runtime/keys/key-pair';

/** One replica of signup and one of login, as they run beside others on one database. */
export interface Replica {
  backend: AccountBackend;
  port: number;
  account: AccountServiceClient;
  login: LoginServiceClient;
  licences: LicenceServiceClient;
  seats: SeatServiceClient;
  management: EnclaveManagementServiceClient;
  deletion: AccountDeletionServiceClient;
  trust: TrustServiceClient;
  transparency: TransparencyServiceClient;
  enclaves: EnclaveRegistry;
  /** Not started. */
  seatWatch: SeatWatch;
  /** As login has it. */
  launcher: Launcher;
  stop(): Promise<void>;
}

export interface ReplicaOptions {
  launcher?: Partial<Launcher>;
  defaultEnclaves?: number;
  licenceRequired?: boolean;
  defaultSeats?: number;
  seatSeconds?: number;
  /** None, unless told. */
  seatGraceSeconds?: number;
  /** None, unless told. */
  seatOutageSeconds?: number;
  oidc?: OidcSettings;
  /** Before the replica's own. */
  interceptors?: readonly Interceptor[];
}

/** @param enclaveOf where a user's enclave is, once it is started */
export async function startReplica(
  files: AccountFiles,
  clientCa: CertifiedKey,
  enclaveOf: (user: string) => Promise<Enclave>,
  {
    launcher: own,
    defaultEnclaves = 4,
    licenceRequired = false,
    defaultSeats = 16,
    seatSeconds = 180,
    seatGraceSeconds = 0,
    seatOutageSeconds = 0,
    oidc,
    interceptors = [],
    ...options
  }: Parameters<typeof openReplica>[1] & ReplicaOptions = {},
): Promise<Replica> {
  const backend = await openReplica(files, options);
  const { clock } = backend;
  const authority = await openAuthority(clientCa);
  const trust = new LoginTrust({
    ...(await loadTrustFiles(files.settings, { clock })),
    database: backend.database,
    clock,
  });
  const seats = new Seats(backend.database, seatSeconds, seatGraceSeconds);
  const watch = new SeatWatch(backend.database, {
    windowSeconds: seatSeconds,
    outageSeconds: seatOutageSeconds,
    clock,
  });
  const launcher = withSeatRelease(fakeLauncher({ ensure: (enclave) => enclaveOf(enclave.user), ...own }), seats);
  const enclaves = new EnclaveRegistry(backend.database);
  const auditLog = openTestLog(backend.database, { trustDomain: backend.trustDomain, clock });
  const enclaveLimit = enclaveLimits(backend.database, defaultEnclaves, clock);
  const implementation = loginService({
    backend,
    authority: () => Promise.resolve(authority),
    trust,
    licenceRequired,
    launcher,
    enclaves,
    enclaveLimit,
    patience: { startedMs: 10_000, runningMs: 1_500 },
    deletionMs: 600,
  });
  const server = await startServer({
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    interceptors: [...interceptors, countRefusals(backend.refusals)],
    authenticate: bearerAuthentication(backend),
    services: [
      { definition: AccountServiceService, implementation: accountService(backend, oidc) },
      { definition: LoginServiceService, implementation },
      {
        definition: LicenceServiceService,
        implementation: licenceService({ backend, trust, required: licenceRequired }),
      },
      {
        definition: SeatServiceService,
        implementation: seatService({
          backend,
          trust,
          seats,
          watch,
          windowSeconds: seatSeconds,
          clientRoots: () => Promise.resolve(clientCa.certificate),
          signer: seatSigner(() => Promise.resolve(authority), backend.trustDomain, clock),
          poolOf: seatPools(backend.database, { defaultSeats, required: licenceRequired, clock }),
        }),
      },
      {
        definition: EnclaveManagementServiceService,
        implementation: enclaveManagementService({ launcher, enclaves, enclaveLimit }),
      },
      { definition: AccountDeletionServiceService, implementation: accountDeletionService({ backend, launcher }) },
      { definition: TrustServiceService, implementation: trustService(trust) },
      { definition: TransparencyServiceService, implementation: transparencyService(auditLog) },
    ],
  });
  const target = [`127.0.0.1:${server.port}`, credentials.createInsecure()] as const;
  const account = new AccountServiceClient(...target);
  const login = new LoginServiceClient(...target);
  const licences = new LicenceServiceClient(...target);
  const seatClient = new SeatServiceClient(...target);
  const management = new EnclaveManagementServiceClient(...target);
  const deletion = new AccountDeletionServiceClient(...target);
  const trustClient = new TrustServiceClient(...target);
  const transparency = new TransparencyServiceClient(...target);
  const clients = [account, login, licences, seatClient, management, deletion, trustClient, transparency];
  return {
    backend,
    port: server.port,
    account,
    login,
    licences,
    seats: seatClient,
    management,
    deletion,
    trust: trustClient,
    transparency,
    enclaves,
    seatWatch: watch,
    launcher,
    async stop() {
      for (const client of clients) client.close();
      await server.stop(0);
      auditLog.close();
      await backend.close();
    },
  };
}
