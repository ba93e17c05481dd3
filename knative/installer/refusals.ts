import type { Installation } from './installation';

/** Changes that take something away from users for good, and what it is. Each needs its own word (`--accept`). */
export const DANGERS = {
  'trust-domain': 'every client refuses the installation, and all evidence of before names the other one',
  database: 'accounts, licences, sessions and the audit log are those of the other database from then on',
  'newer-settings': 'what a newer release decided by them ends, and the cluster no longer keeps them',
} as const;
export type Danger = keyof typeof DANGERS;

export interface Refusal {
  danger: Danger;
  message: string;
}

interface Installed {
  installation: Installation;
  /** Settings of a newer release's that this one doesn't know. */
  unknown?: readonly string[] | undefined;
  /** Of the Secret `database`. */
  databaseUrl?: string;
}

/** Overlays that bring a PostgreSQL of their own. */
const bringsDatabase = ({ overlay }: Installation): boolean => overlay !== 'external-postgres';

/** What of this change nobody asked for in so many words. @param databaseUrl given to this run */
export function refusals(
  before: Installed | undefined,
  next: Installation,
  { databaseUrl, accept }: { databaseUrl?: string; accept: readonly Danger[] },
): Refusal[] {
  if (before === undefined) return [];
  const found: Refusal[] = [];
  const refuse = (danger: Danger, change: string): void => {
    if (!accept.includes(danger))
      found.push({ danger, message: `${change}: ${DANGERS[danger]}; if that is meant: --accept ${danger}` });
  };
  const { trustDomain, overlay } = before.installation;
  if (before.unknown !== undefined && before.unknown.length > 0)
    refuse(
      'newer-settings',
      `a newer release installed this, with settings that this one doesn't know (${before.unknown.join(', ')})`,
    );
  if (trustDomain !== next.trustDomain)
    refuse('trust-domain', `the trust domain ${trustDomain} becomes ${next.trustDomain}`);
  if (bringsDatabase(before.installation) !== bringsDatabase(next))
    refuse('database', `the database of overlay ${overlay} is left for that of ${next.overlay}`);
  // The URLs have passwords in them: neither is shown.
  else if (databaseUrl !== undefined && before.databaseUrl !== undefined && databaseUrl !== before.databaseUrl)
    refuse('database', 'the database URL is another one than that of the Secret database');
  return found;
}
