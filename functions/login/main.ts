import { loadAccountFiles, openAccountBackend } from '../../licensing/accounts/backend';
import { watchBackend } from '../../licensing/accounts/metrics';
import { countRefusals } from '../../licensing/audit/count-refusals';
import { loadLogKeys } from '../../licensing/audit/load-keys';
import { AuditLog } from '../../licensing/audit/log';
import { openAuthority } from '../../licensing/authority/authority';
import type { Signer } from '../../licensing/authority/authority';
import { ConfigError, readEnvironment, settingFileError } from '../../runtime/config/environment';
import { openTls } from '../../runtime/config/listen';
import { reloadingSetting } from '../../runtime/config/reloading-setting';
import type { Reloading } from '../../runtime/config/reloading-file';
import { writeReadyFile } from '../../runtime/config/ready-file';
import { bearerAuthentication } from '../../licensing/sessions/bearer';
import { EnclaveRegistry } from '../../licensing/enclaves/enclaves';
import { installationOf } from '../../licensing/store/installation';
import type { Database } from '../../licensing/store/database';
import { openMetrics } from '../../runtime/metrics/open';
import { runProgram } from '../../runtime/rpc/program';
import { startServer } from '../../runtime/rpc/server';
import { Seats } from '../../licensing/seats/seats';
import { SeatWatch } from '../../licensing/seats/watch';
import { AccountDeletionServiceService } from '../../proto/gen/licensing/v1/account';
import { EnclaveManagementServiceService } from '../../proto/gen/licensing/v1/enclaves';
import { LicenceServiceService } from '../../proto/gen/licensing/v1/licence';
import { LoginServiceService } from '../../proto/gen/licensing/v1/login';
import { SeatServiceService } from '../../proto/gen/licensing/v1/seat';
import { TransparencyServiceService } from '../../proto/gen/licensing/v1/transparency';
import { TrustServiceService } from '../../proto/gen/licensing/v1/trust';
import { accountDeletionService, keepFinishingDeletions } from './deletion';
import { enclaveLimits } from './enclave-limit';
import { enclaveManagementService } from './enclaves';
import type { Launcher } from './launcher/launcher';
import { ProcessLauncher } from './launcher/process';
import { licenceService } from './licences';
import { countLogins, measureStarts } from './metrics';
import { withSeatRelease } from './seats/launcher';
import { seatPools } from './seats/pool';
import { seatService } from './seats/service';
import { seatSigner } from './seats/signer';
import { loginService } from './service';
import { loginSettings } from './settings';
import { transparencyService } from './transparency';
import { loadTrustFiles, LoginTrust, trustService } from './trust';
import { readAuthorities, signingAuthority } from '../../licensing/authority/rotating';
import type { Program } from '../../runtime/rpc/program';

/** Loads what the launcher needs to be made, once there is a database. @throws ConfigError */
async function loadLauncher(
  { LAUNCHER, LAUNCHER_ADDRESS }: { LAUNCHER: string; LAUNCHER_ADDRESS?: ProcessAddress },
  { log, clock }: Program,
): Promise<(database: Database) => Launcher> {
  if (LAUNCHER === 'knative') {
    // Loaded when it is wanted: the Kubernetes client costs a start from zero what nothing else here does.
    const makeLauncher = await (await import('./launcher/knative')).loadKnativeLauncher({ log, clock });
    return (database) => makeLauncher(installationOf(database));
  }
  if (LAUNCHER_ADDRESS === undefined)
    throw new ConfigError('LAUNCHER_ADDRESS: expected an address, because LAUNCHER is process');
  return () => new ProcessLauncher(LAUNCHER_ADDRESS, clock);
}

/** The client CA that signs now. @throws ConfigError */
async function openClientAuthority(
  settings: { CLIENT_CA_CERTIFICATE_FILE: string; CLIENT_CA_KEY_FILE: string },
  program: Program,
): Promise<() => Promise<Signer>> {
  const { CLIENT_CA_CERTIFICATE_FILE, CLIENT_CA_KEY_FILE } = settings;
  const opened = new Map<string, Promise<Signer>>();
  const read = await reloadingSetting(
    { CLIENT_CA_CERTIFICATE_FILE, CLIENT_CA_KEY_FILE },
    ([certificates, keys]) => readAuthorities(String(certificates), String(keys)),
    program,
  );
  const current = async (): Promise<Signer> => {
    const authority = signingAuthority(await read());
    let signer = opened.get(authority.certificate);
    if (!signer) opened.set(authority.certificate, (signer = openAuthority(authority)));
    return signer;
  };
  await current().catch((cause: unknown) => {
    if (!(cause instanceof TypeError)) throw cause;
    throw settingFileError({ CLIENT_CA_KEY_FILE, CLIENT_CA_CERTIFICATE_FILE }, cause.message, cause);
  });
  return current;
}

/** The authorities that client certificates may be by. */
function openClientRoots(
  { CLIENT_CA_CERTIFICATE_FILE }: { CLIENT_CA_CERTIFICATE_FILE: string },
  program: Program,
): Promise<Reloading<string>> {
  return reloadingSetting({ CLIENT_CA_CERTIFICATE_FILE }, ([pem]) => String(pem), program);
}

type ProcessAddress = ConstructorParameters<typeof ProcessLauncher>[0];

async function load(program: Program) {
  const settings = readEnvironment(loginSettings);
  return {
    settings,
    tls: await openTls(settings, program),
    authority: await openClientAuthority(settings, program),
    clientRoots: await openClientRoots(settings, program),
    files: await loadAccountFiles(settings, program),
    makeLauncher: await loadLauncher(settings, program),
    trustFiles: await loadTrustFiles(settings, program),
    logKeys: await loadLogKeys(settings, program),
  };
}

async function run(loaded: Awaited<ReturnType<typeof load>>, program: Program): Promise<() => Promise<void>> {
  const { log, tracer, clock } = program;
  const { settings, tls, authority, clientRoots } = loaded;
  const metrics = await openMetrics(settings);
  const backend = await openAccountBackend(settings, loaded.files, { program: 'login', log, clock });
  const { database, trustDomain } = backend;
  const seats = new Seats(database, settings.SEAT_SECONDS, settings.SEAT_GRACE_SECONDS);
  const watch = new SeatWatch(database, {
    windowSeconds: settings.SEAT_SECONDS,
    outageSeconds: settings.SEAT_OUTAGE_SECONDS,
    clock,
    log,
  });
  const opened = withSeatRelease(loaded.makeLauncher(database), seats, log);
  const launcher = metrics ? measureStarts(opened, metrics) : opened;
  if (metrics) watchBackend(metrics, backend);
  const trust = new LoginTrust({ ...loaded.trustFiles, database, log, clock });
  const auditLog = new AuditLog({ database, keys: loaded.logKeys, trustDomain, clock, log });
  const enclaves = new EnclaveRegistry(backend.database, settings.MAX_ENCLAVES);
  const { LICENCE_REQUIRED: required } = settings;
  const poolOf = seatPools(backend.database, { defaultSeats: settings.DEFAULT_SEATS, required, clock });
  const signer = seatSigner(authority, backend.trustDomain, clock);
  const enclaveLimit = enclaveLimits(backend.database, settings.DEFAULT_ENCLAVES, clock);
  const server = await startServer({
    address: settings.LISTEN,
    tls,
    observer: metrics && countLogins(metrics),
    log,
    tracer,
    proxies: settings.TRUSTED_PROXIES,
    interceptors: [countRefusals(backend.refusals)],
    authenticate: bearerAuthentication(backend),
    services: [
      {
        definition: LoginServiceService,
        implementation: loginService({
          backend,
          authority,
          launcher,
          trust,
          auditLog,
          enclaves,
          enclaveLimit,
          licenceRequired: required,
          loginsPerAccount: settings.LOGINS_PER_ACCOUNT,
        }),
      },
      { definition: LicenceServiceService, implementation: licenceService({ backend, trust, required }) },
      { definition: TrustServiceService, implementation: trustService(trust) },
      { definition: TransparencyServiceService, implementation: transparencyService(auditLog) },
      {
        definition: SeatServiceService,
        implementation: seatService({
          backend,
          trust,
          seats,
          watch,
          windowSeconds: settings.SEAT_SECONDS,
          clientRoots,
          signer,
          poolOf,
        }),
      },
      {
        definition: EnclaveManagementServiceService,
        implementation: enclaveManagementService({ launcher, enclaves, enclaveLimit }),
      },
      { definition: AccountDeletionServiceService, implementation: accountDeletionService({ backend, launcher }) },
    ],
  });
  await writeReadyFile(settings.READY_FILE, { listen: server.port });
  watch.start();
  const stopFinishing = keepFinishingDeletions(backend.database, enclaves, launcher, program);
  return async () => {
    stopFinishing();
    await server.stop();
    await watch.stop();
    metrics?.close();
    auditLog.close();
    await backend.close();
  };
}

runProgram({ load, run });
