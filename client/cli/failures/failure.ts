import type { EXIT } from '../exit';

/** How `sls` ends on an error, and what the person may do next. */
export interface Failure {
  exit: Exclude<keyof typeof EXIT, 'ok'>;
  hint?: string | undefined;
}

/** What answers, or the installation, is of a newer release than this program. */
export const UPGRADE = 'this sls is of an older release than the installation: install a newer one';

export const failed = (hint?: string): Failure => ({ exit: 'failure', hint });
export const unauthenticated = (hint?: string): Failure => ({ exit: 'authentication', hint });
export const refused = (hint?: string): Failure => ({ exit: 'attestation', hint });
export const unavailable = (hint?: string): Failure => ({ exit: 'unavailable', hint });
