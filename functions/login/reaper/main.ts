import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { readEnvironment } from '../../../core/config/environment';
import { KubernetesApi } from '../../../core/kubernetes/api';
import { logger } from '../../../core/log/logger';
import { openDatabase } from '../../../core/store/database';
import { reap } from './reaper';

const DAY_MS = 86_400_000;

async function main(): Promise<void> {
  const settings = readEnvironment(
    z.object({
      ENCLAVE_NAMESPACE: z.string().default('licensing-enclaves'),
      UNUSED_DAYS: z.coerce.number().positive().default(30),
      DATABASE_URL_FILE: z.string(),
    }),
  );
  const database = openDatabase((await readFile(settings.DATABASE_URL_FILE, 'utf8')).trim(), { poolSize: 1, applicationName: 'reaper' });
  try {
    const reaped = await reap({
      api: await KubernetesApi.inCluster(),
      namespace: settings.ENCLAVE_NAMESPACE,
      unusedMs: settings.UNUSED_DAYS * DAY_MS,
      now: new Date(),
      existing: async (users) => {
        const rows = await database.query<{ id: string }>('SELECT id::text FROM accounts WHERE id::text = ANY(string_to_array($1, \',\'))', [users.join(',')]);
        return new Set(rows.map(({ id }) => id));
      },
    });
    logger.info(reaped, 'looked for unused enclaves');
  } finally {
    await database.close();
  }
}

main().catch((error: unknown) => {
  logger.fatal({ err: error }, 'cannot go on');
  process.exit(1);
});
