import { ConfigError } from '../../runtime/config/environment';
import { readSettingFile } from '../../runtime/config/listen';
import { reloadingFiles } from '../../runtime/config/reloading-file';
import type { Database } from '../store/database';
import { readLogKeys } from './keys';
import { AuditLog } from './log';
import type { Clock } from '../../runtime/clock';
import type { Logger } from '../../runtime/log/log';

/** Opens the log by the settings of the programs that sign its heads. @throws ConfigError */
export async function openAuditLog(
  settings: { LOG_KEYS_FILE: string; TRUST_DOMAIN: string },
  database: Database,
  { clock, log }: { clock?: Clock; log?: Logger } = {},
): Promise<AuditLog> {
  await readSettingFile('LOG_KEYS_FILE', settings.LOG_KEYS_FILE);
  const keys = await reloadingFiles([settings.LOG_KEYS_FILE], ([json]) => readLogKeys(String(json)), {
    clock,
    log,
  }).catch((cause: Error) => {
    throw new ConfigError(`LOG_KEYS_FILE: ${cause.message}`, { cause });
  });
  return new AuditLog({ database, keys, trustDomain: settings.TRUST_DOMAIN, clock, log });
}
