import type { MeasuredBoot } from '../../boot/measured';
import { contradictionText } from '../../boot/contradiction';
import type { Warning } from './clock';

/** An event log is nobody's proof: one that is wrong is told and not believed, and the quoted PCRs stand. */
export function bootWarnings(boot: MeasuredBoot): Warning[] {
  const { unreadable, contradicted } = boot;
  if (unreadable !== undefined) return [{ code: 'event_log.unreadable', message: unreadable.message }];
  if (contradicted.length === 0) return [];
  return [{ code: 'event_log.contradicted', message: contradictionText(boot, contradicted) }];
}
