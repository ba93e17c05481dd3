import { countRefusals } from '../../licensing/audit/count-refusals';
import { loadLogKeys } from '../../licensing/audit/load-keys';
import { AuditLog } from '../../licensing/audit/log';
import { Refusals } from '../../licensing/audit/refusals';
import { splitCertificates } from '../../attestation/certificates/pem';
import { ConfigError, readEnvironment } from '../../runtime/config/environment';
import { openTls } from '../../runtime/config/listen';
import { writeReadyFile } from '../../runtime/config/ready-file';
import { reloadingSetting } from '../../runtime/config/reloading-setting';
import type { Reloading } from '../../runtime/config/reloading-file';
import { openMetrics } from '../../runtime/metrics/open';
import { runProgram } from '../../runtime/rpc/program';
import { FEW_PEERS } from '../../runtime/rpc/limits';
import { startServer } from '../../runtime/rpc/server';
import { watchDatabase } from '../../licensing/store/metrics';
import { openDatabase } from '../../licensing/store/database';
import { readDatabaseUrl } from '../../licensing/store/open';
import { readTokenKeys } from '../../licensing/tokens/keys';
import type { TokenKeys } from '../../licensing/tokens/keys';
import { AdminServiceService } from '../../proto/gen/licensing/v1/admin';
import type { Enclaves } from './enclaves/enclaves';
import { adminService } from './service';
import { adminSettings } from './settings';
import type { Program } from '../../runtime/rpc/program';

type Settings = ReturnType<typeof readEnvironment<typeof adminSettings>>;

async function openEnclaves({ LAUNCHER, LAUNCHER_ADDRESS, ENCLAVE_NAMESPACE }: Settings): Promise<Enclaves> {
  if (LAUNCHER === 'knative') {
    const [{ knativeEnclaves }, { KubernetesApi }] = await Promise.all([
      import('./enclaves/knative'),
      import('../../runtime/kubernetes/api'),
    ]);
    return knativeEnclaves(await KubernetesApi.inCluster(), ENCLAVE_NAMESPACE);
  }
  if (LAUNCHER_ADDRESS === undefined)
    throw new ConfigError('LAUNCHER_ADDRESS: expected an address, because LAUNCHER is process');
  return (await import('./enclaves/process')).processEnclaves(LAUNCHER_ADDRESS);
}

/** No root at all would refuse everyone, which looks like an attack; a file without one is a mistake. */
function requireRoots(pem: string): string {
  if (splitCertificates(pem).length > 0) return pem;
  throw new TypeError('expected certificates in PEM, got none');
}

/** @throws ConfigError */
async function loadLicenceKeys(
  { LICENCE_KEYS_FILE }: Settings,
  program: Program,
): Promise<Reloading<TokenKeys> | undefined> {
  if (LICENCE_KEYS_FILE === undefined) return undefined;
  return reloadingSetting({ LICENCE_KEYS_FILE }, ([json]) => readTokenKeys(String(json)), program);
}

async function load(program: Program) {
  const settings = readEnvironment(adminSettings);
  const { ADMIN_CA_FILE } = settings;
  return {
    settings,
    tls: await openTls(settings, program),
    rootsPem: await reloadingSetting({ ADMIN_CA_FILE }, ([pem]) => requireRoots(String(pem)), program),
    databaseUrl: await readDatabaseUrl(settings),
    enclaves: await openEnclaves(settings),
    licenceKeys: await loadLicenceKeys(settings, program),
    logKeys: await loadLogKeys(settings, program),
  };
}

async function run(
  { settings, tls, rootsPem, databaseUrl, enclaves, licenceKeys, logKeys }: Awaited<ReturnType<typeof load>>,
  program: Program,
): Promise<() => Promise<void>> {
  const { log, tracer, clock } = program;
  const metrics = await openMetrics(settings);
  const database = openDatabase(databaseUrl, {
    poolSize: settings.DATABASE_POOL,
    applicationName: 'sls-admin',
    log,
    clock,
  });
  if (metrics) watchDatabase(metrics, database);
  const auditLog = new AuditLog({ database, keys: logKeys, trustDomain: settings.TRUST_DOMAIN, clock, log });
  const refusals = new Refusals(database, program);
  const implementation = adminService({
    database,
    log: auditLog,
    enclaves,
    rootsPem: () => rootsPem(),
    licenceKeys,
    trustDomain: settings.TRUST_DOMAIN,
    clock,
  });
  const server = await startServer({
    address: settings.LISTEN,
    tls,
    observer: metrics,
    log,
    tracer,
    proxies: settings.TRUSTED_PROXIES,
    interceptors: [countRefusals(refusals)],
    limits: FEW_PEERS,
    services: [{ definition: AdminServiceService, implementation }],
  });
  await writeReadyFile(settings.READY_FILE, { listen: server.port });
  return async () => {
    await server.stop();
    metrics?.close();
    auditLog.close();
    await refusals.close();
    await database.close();
  };
}

runProgram({ load, run });
