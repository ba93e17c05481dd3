import { reloadingSetting } from '../../runtime/config/reloading-setting';
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
  const { LOG_KEYS_FILE } = settings;
  const keys = await reloadingSetting({ LOG_KEYS_FILE }, ([json]) => readLogKeys(String(json)), { clock, log });
  return new AuditLog({ database, keys, trustDomain: settings.TRUST_DOMAIN, clock, log });
}
