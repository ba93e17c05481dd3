import type { MeasuredBoot } from '../../boot/measured';
import type { Warning } from './clock';

/** An event log is nobody's proof: one that is wrong is told and not believed, and the quoted PCRs stand. */
export function bootWarnings({ unreadable, contradicted }: MeasuredBoot): Warning[] {
  if (unreadable !== undefined) return [{ code: 'event_log.unreadable', message: unreadable.message }];
  if (contradicted.length === 0) return [];
  return [
    {
      code: 'event_log.contradicted',
      message: `expected an event log that leads to the quoted PCRs, got another value for ${contradicted.join(', ')}`,
    },
  ];
}
