import { countRefusals } from '../../licensing/audit/count-refusals';
import { openAuditLog } from '../../licensing/audit/open';
import { Refusals } from '../../licensing/audit/refusals';
import { splitCertificates } from '../../attestation/certificates/pem';
import { ConfigError, readEnvironment } from '../../runtime/config/environment';
import { readSettingText, readTls } from '../../runtime/config/listen';
import { writeReadyFile } from '../../runtime/config/ready-file';
import { reloadingSetting } from '../../runtime/config/reloading-setting';
import type { Reloading } from '../../runtime/config/reloading-file';
import { openMetrics } from '../../runtime/metrics/open';
import { runProgram } from '../../runtime/rpc/program';
import { startServer } from '../../runtime/rpc/server';
import { watchDatabase } from '../../licensing/store/metrics';
import { openDatabase } from '../../licensing/store/database';
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
async function openLicenceKeys(
  { LICENCE_KEYS_FILE }: Settings,
  program: Program,
): Promise<Reloading<TokenKeys> | undefined> {
  if (LICENCE_KEYS_FILE === undefined) return undefined;
  return reloadingSetting({ LICENCE_KEYS_FILE }, ([json]) => readTokenKeys(String(json)), program);
}

runProgram(async (program) => {
  const { log, tracer, clock } = program;
  const settings = readEnvironment(adminSettings);
  const [tls, metrics] = await Promise.all([readTls(settings), openMetrics(settings)]);
  const { ADMIN_CA_FILE } = settings;
  const rootsPem = await reloadingSetting({ ADMIN_CA_FILE }, ([pem]) => requireRoots(String(pem)), program);
  const url = (await readSettingText('DATABASE_URL_FILE', settings.DATABASE_URL_FILE)).trim();
  const enclaves = await openEnclaves(settings);
  const database = openDatabase(url, { poolSize: settings.DATABASE_POOL, applicationName: 'sls-admin', log, clock });
  if (metrics) watchDatabase(metrics, database);
  const licenceKeys = await openLicenceKeys(settings, program);
  const auditLog = await openAuditLog(settings, database, program);
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
});
