import type { Queries } from '../../../licensing/store/queries';
import { enclaveKey } from '../../../attestation/evidence/enclave-name';
import type { EnclaveId } from '../../../attestation/evidence/enclave-name';

/**
 * Whose an object of an enclave is, by what the database says:
 * - `owned`: its user has an account and, where it has a name, an enclave of that name
 * - `deleted`: a row says that its user, or its user's enclave of that name, was deleted
 * - `orphaned`: no row speaks for it, which may mean that it is left over, or that rows are missing
 */
export type Ownership = 'owned' | 'deleted' | 'orphaned';

export interface Owner {
  /** User id, as it is written on the object. */
  user: string;
  /** Undefined for one of before there were names: registered at its next login. */
  enclave: string | undefined;
}

/** What the database knows of these users. */
interface Known {
  accounts: Set<string>;
  deletedUsers: Set<string>;
  /** By `enclaveKey`: true while it is being deleted. */
  enclaves: Map<string, boolean>;
}

/** Reads what is known of these users, in one snapshot. */
export async function readKnown(queries: Queries, users: readonly string[]): Promise<Known> {
  const list = [users.join(',')];
  const accounts = await queries.query<{ id: string }>(
    "SELECT id::text FROM accounts WHERE id::text = ANY(string_to_array($1, ','))",
    list,
  );
  const deleted = await queries.query<{ id: string }>(
    "SELECT user_id::text AS id FROM deleted_users WHERE user_id::text = ANY(string_to_array($1, ','))",
    list,
  );
  const enclaves = await queries.query<EnclaveId & { deleting: boolean }>(
    `SELECT user_id::text AS user, name, deleting_at IS NOT NULL AS deleting FROM enclaves WHERE user_id::text = ANY(string_to_array($1, ','))`,
    list,
  );
  return {
    accounts: new Set(accounts.map(({ id }) => id)),
    deletedUsers: new Set(deleted.map(({ id }) => id)),
    enclaves: new Map(enclaves.map(({ deleting, ...id }) => [enclaveKey(id), deleting])),
  };
}

export function ownershipOf({ accounts, deletedUsers, enclaves }: Known, { user, enclave }: Owner): Ownership {
  if (!accounts.has(user)) return deletedUsers.has(user) ? 'deleted' : 'orphaned';
  if (enclave === undefined) return 'owned';
  const deleting = enclaves.get(enclaveKey({ user, name: enclave }));
  if (deleting === undefined) return 'orphaned';
  return deleting ? 'deleted' : 'owned';
}
