import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LicenceTerms } from '../../attestation/licences/key';
import type { Plan } from '../../attestation/licences/plan';
import { readTokenKeys } from '../../licensing/tokens/keys';
import { TRUST_DOMAIN } from './accounts';
import { licenceKey } from './login-trust';
import { signLicenceKey } from '../../licensing/licences/sign-key';
import type { Queries } from '../../licensing/store/queries';

export const PLAN: Plan = { name: 'team', enclaves: 2, seats: 3 };

export interface LicenceChoices {
  plan?: Partial<Plan>;
  /** Seconds from now; of the past for one that is over. */
  untilSeconds?: number;
  graceSeconds?: number;
  accounts?: number;
}

/** Puts a licence into the database as issuing does, but with times that issuing would refuse. @returns its id */
export async function insertLicence(
  queries: Queries,
  { plan = {}, untilSeconds = 3600, graceSeconds = 0, accounts = 1 }: LicenceChoices = {},
): Promise<string> {
  const { name, images, enclaves, seats, cpu = null, memory = null } = { ...PLAN, ...plan };
  const until = new Date(Date.now() + untilSeconds * 1000);
  const id = randomUUID();
  await queries.query(
    `INSERT INTO licences (id, plan, images, enclaves, seats, cpu, memory, valid_until, grace_until, accounts, issued_by, reason)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'ada', 'for a test')`,
    [
      id,
      name,
      images ? JSON.stringify(images) : null,
      enclaves,
      seats,
      cpu,
      memory,
      until,
      new Date(until.getTime() + graceSeconds * 1000),
      accounts,
    ],
  );
  return id;
}

/** Gives a licence to an account without its key. */
export async function giveLicence(queries: Queries, licence: string, user: string): Promise<void> {
  await queries.query('INSERT INTO licence_redemptions (licence_id, user_id) VALUES ($1, $2)', [licence, user]);
  // The embedded database's clock counts milliseconds: what comes next is later.
  await sleep(2);
}

/** The key of a licence, by the licence key of the tests' trust bundle. */
export async function keyOf(
  licence: string,
  terms: Partial<LicenceTerms> = {},
  options: { now?: Date } = {},
): Promise<string> {
  const { signing } = await readTokenKeys(JSON.stringify({ keys: [licenceKey.privateKey] }));
  const until = new Date(Math.floor(Date.now() / 1000) * 1000 + 3_600_000);
  return signLicenceKey(
    signing,
    { licence, plan: PLAN, until, graceDays: 0, accounts: 1, ...terms },
    { trustDomain: TRUST_DOMAIN, ...options },
  );
}
