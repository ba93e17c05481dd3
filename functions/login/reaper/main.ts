import { forgetDeletions, noteEnclavesRemoved, pendingDeletions } from '../../../licensing/accounts/deletion';
import { readEnvironment } from '../../../runtime/config/environment';
import { KubernetesApi } from '../../../runtime/kubernetes/api';
import { deleteObjectsOf, enclaveCollections } from '../../../runtime/kubernetes/enclave-objects';
import { readDatabaseUrl } from '../../../licensing/store/open';
import { openDatabase } from '../../../licensing/store/database';
import type { Database } from '../../../licensing/store/database';
import { installationId } from '../../../licensing/store/installation';
import { requireBound } from './bind';
import { reap } from './reaper';
import { reaperSettings } from './settings';
import { dateOf } from '../../../runtime/clock';
import { runTask } from '../../../runtime/rpc/program';
import type { Program } from '../../../runtime/rpc/program';

const DAY_MS = 86_400_000;

async function load() {
  const settings = readEnvironment(reaperSettings);
  return { settings, databaseUrl: await readDatabaseUrl(settings), api: await KubernetesApi.inCluster() };
}

async function run(
  { settings, databaseUrl, api }: Awaited<ReturnType<typeof load>>,
  { log, clock }: Program,
): Promise<void> {
  const database = openDatabase(databaseUrl, { poolSize: 1, applicationName: 'reaper', log, clock });
  try {
    const installation = await installationId(database);
    const [namespace, orphanShare] = [settings.ENCLAVE_NAMESPACE, settings.ORPHAN_PERCENT / 100];
    const common = { api, namespace, database, installation, orphanShare };
    await requireBound(common);
    await removeEnclavesOfDeletedUsers(database, api, namespace);
    const reaped = await reap({
      ...common,
      unusedMs: settings.UNUSED_DAYS * DAY_MS,
      orphanMs: settings.ORPHAN_DAYS * DAY_MS,
      now: dateOf(clock),
      log,
    });
    log.info(reaped, 'looked for unused enclaves');
  } finally {
    await database.close();
  }
}

/** What deleting an account left to be done, for the time when no login runs that would do it. */
async function removeEnclavesOfDeletedUsers(database: Database, api: KubernetesApi, namespace: string): Promise<void> {
  for (const user of await pendingDeletions(database)) {
    await deleteObjectsOf(api, user, [enclaveCollections.services(namespace), enclaveCollections.volumes(namespace)]);
    await noteEnclavesRemoved(database, user);
  }
  await forgetDeletions(database);
}

runTask({ load, run });
