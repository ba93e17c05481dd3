import { z } from 'zod';
import { forgetDeletions, noteEnclavesRemoved, pendingDeletions } from '../../../licensing/accounts/deletion';
import { readEnvironment } from '../../../runtime/config/environment';
import { KubernetesApi } from '../../../runtime/kubernetes/api';
import { deleteObjectsOf, enclaveCollections } from '../../../runtime/kubernetes/enclave-objects';
import { openDatabase } from '../../../licensing/store/database';
import type { Database } from '../../../licensing/store/database';
import { reap } from './reaper';
import { enclaveKey } from '../../../attestation/evidence/enclave-name';
import type { EnclaveId } from '../../../attestation/evidence/enclave-name';
import { dateOf } from '../../../runtime/clock';
import { runTask } from '../../../runtime/rpc/program';
import { readText } from '../../../runtime/text/utf8';

const DAY_MS = 86_400_000;

runTask(async ({ log, clock }) => {
  const settings = readEnvironment(
    z.object({
      ENCLAVE_NAMESPACE: z.string().default('licensing-enclaves'),
      UNUSED_DAYS: z.coerce.number().positive().default(30),
      DATABASE_URL_FILE: z.string(),
    }),
  );
  const database = openDatabase((await readText(settings.DATABASE_URL_FILE)).trim(), {
    poolSize: 1,
    applicationName: 'reaper',
    log,
    clock,
  });
  try {
    const api = await KubernetesApi.inCluster();
    await removeEnclavesOfDeletedUsers(database, api, settings.ENCLAVE_NAMESPACE);
    const reaped = await reap({
      api,
      namespace: settings.ENCLAVE_NAMESPACE,
      unusedMs: settings.UNUSED_DAYS * DAY_MS,
      now: dateOf(clock),
      log,
      existing: async (users) => {
        const rows = await database.query<{ id: string }>(
          "SELECT id::text FROM accounts WHERE id::text = ANY(string_to_array($1, ','))",
          [users.join(',')],
        );
        return new Set(rows.map(({ id }) => id));
      },
      registered: async (users) => {
        const rows = await database.query<EnclaveId>(
          `SELECT user_id::text AS user, name FROM enclaves WHERE deleting_at IS NULL AND user_id::text = ANY(string_to_array($1, ','))`,
          [users.join(',')],
        );
        return new Set(rows.map(enclaveKey));
      },
    });
    log.info(reaped, 'looked for unused enclaves');
  } finally {
    await database.close();
  }
});

/** What deleting an account left to be done, for the time when no login runs that would do it. */
async function removeEnclavesOfDeletedUsers(database: Database, api: KubernetesApi, namespace: string): Promise<void> {
  for (const user of await pendingDeletions(database)) {
    await deleteObjectsOf(api, user, [enclaveCollections.services(namespace), enclaveCollections.volumes(namespace)]);
    await noteEnclavesRemoved(database, user);
  }
  await forgetDeletions(database);
}
