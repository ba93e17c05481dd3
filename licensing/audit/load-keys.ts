import { reloadingSetting } from '../../runtime/config/reloading-setting';
import type { Reloading } from '../../runtime/config/reloading-file';
import { readLogKeys } from './keys';
import type { LogKeys } from './keys';
import type { Clock } from '../../runtime/clock';
import type { Logger } from '../../runtime/log/log';

/** Loads the keys of the programs that sign the log's heads. @throws ConfigError */
export function loadLogKeys(
  { LOG_KEYS_FILE }: { LOG_KEYS_FILE: string },
  { clock, log }: { clock?: Clock; log?: Logger } = {},
): Promise<Reloading<LogKeys>> {
  return reloadingSetting({ LOG_KEYS_FILE }, ([json]) => readLogKeys(String(json)), { clock, log });
}
