/** Programs that use the database while they serve. Each has a role of its own; the schema belongs to none of them. */
export const DATABASE_PROGRAMS = ['signup', 'login', 'enrol', 'admin', 'reaper'] as const;
export type DatabaseProgram = (typeof DATABASE_PROGRAMS)[number];

/** As in SQL: SELECT, INSERT (a, b), … */
type Privilege = `${'SELECT' | 'INSERT' | 'UPDATE' | 'DELETE'}${'' | ` (${string})`}`;
/** By table. */
type Grants = Record<string, readonly Privilege[]>;

const EVERYBODY: Grants = {
  schema_migrations: ['SELECT'],
  installation: ['SELECT'],
};
/** A record is written once. `at` is null where there is one; the other columns are of releases before. */
const RECORDS: Grants = {
  // Which column it was that a record is there twice by: ON CONFLICT.
  audit: ['SELECT (leaf_sha256)', 'INSERT (record, leaf_sha256, at)'],
  audit_refusals: ['SELECT', 'INSERT', 'UPDATE (count)'],
};
/** Records get their place in the tree, and nothing else of them changes. */
const LOG: Grants = {
  audit: ['SELECT', 'INSERT (record, leaf_sha256, at)', 'UPDATE (sequence)'],
  audit_refusals: ['SELECT', 'INSERT', 'UPDATE (count)', 'DELETE'],
  audit_nodes: ['SELECT', 'INSERT'],
  audit_tree: ['SELECT', 'UPDATE (size, frontier, head)'],
};
const SESSIONS: Grants = {
  sessions: [
    'SELECT',
    'INSERT',
    'UPDATE (last_used_at, certified_until, client_name, client_address, generation, revoked_at, revoked_because)',
    'DELETE',
  ],
  refresh_tokens: ['SELECT', 'INSERT', 'UPDATE (used_at, retired_at)'],
  limits: ['SELECT', 'INSERT', 'UPDATE', 'DELETE'],
  revocations: ['SELECT'],
};

/**
 * What each program may do, and nothing else: no table that isn't here, no column that isn't named where columns are. Rows that go with an account's row (ON
 * DELETE CASCADE) take no privilege. A statement that locks rows (FOR UPDATE) takes UPDATE on some column: where nothing is changed, on one that means little.
 */
export const GRANTS: Record<DatabaseProgram, Grants> = {
  signup: {
    ...EVERYBODY,
    ...RECORDS,
    ...SESSIONS,
    accounts: ['SELECT', 'INSERT', 'UPDATE (password_hash)'],
    second_factors: ['SELECT', 'INSERT', 'UPDATE', 'DELETE'],
    recovery_codes: ['SELECT', 'INSERT', 'UPDATE (used_at)', 'DELETE'],
    oidc_identities: ['SELECT', 'INSERT', 'DELETE'],
    used_id_tokens: ['SELECT', 'INSERT', 'DELETE'],
  },
  login: {
    ...EVERYBODY,
    ...LOG,
    ...SESSIONS,
    accounts: ['SELECT', 'UPDATE (password_hash)', 'DELETE'],
    second_factors: ['SELECT', 'UPDATE (last_step)'],
    recovery_codes: ['SELECT', 'UPDATE (used_at)'],
    deleted_users: ['SELECT', 'INSERT', 'UPDATE (enclaves_removed_at)', 'DELETE'],
    enclaves: ['SELECT', 'INSERT', 'UPDATE (last_used_at, deleting_at)', 'DELETE'],
    // Locked while it is redeemed, and while a seat is taken.
    licences: ['SELECT', 'UPDATE (reason)'],
    licence_redemptions: ['SELECT', 'INSERT', 'UPDATE (redeemed_at)', 'DELETE'],
    login_nonces: ['SELECT', 'INSERT', 'UPDATE (expires_at)', 'DELETE'],
    seat_watch: ['SELECT', 'UPDATE (at, gap_from, gap_until, extended)'],
    seats: [
      'SELECT',
      'INSERT',
      'UPDATE (licence_id, renewed_at, heartbeat_ms, expires_at, freed_at, ended_at)',
      'DELETE',
    ],
  },
  enrol: {
    ...EVERYBODY,
    ...RECORDS,
    nodes: ['SELECT', 'INSERT', 'UPDATE (ak_sha256, details, enrolled_at)'],
    enrolment_challenges: ['SELECT', 'INSERT', 'DELETE'],
    revocations: ['SELECT'],
  },
  admin: {
    ...EVERYBODY,
    ...LOG,
    // Locked while a user is revoked, deleted or freed of a second factor.
    accounts: ['SELECT', 'UPDATE (created_at)', 'DELETE'],
    admin_proofs: ['SELECT', 'INSERT', 'DELETE'],
    deleted_users: ['SELECT', 'INSERT', 'UPDATE (enclaves_removed_at)'],
    licences: ['SELECT', 'INSERT', 'UPDATE (revoked_at, revoked_by, revoked_reason)'],
    licence_redemptions: ['SELECT'],
    limits: ['SELECT', 'INSERT', 'UPDATE', 'DELETE'],
    nodes: ['SELECT', 'INSERT', 'UPDATE (ek_sha256, ak_sha256, details, bound_at)'],
    orphans: ['SELECT'],
    orphan_permits: ['SELECT', 'INSERT', 'UPDATE'],
    revocations: ['SELECT', 'INSERT', 'DELETE'],
    seats: ['SELECT'],
    second_factors: ['SELECT', 'DELETE'],
    sessions: ['SELECT', 'UPDATE (revoked_at, revoked_because)'],
  },
  reaper: {
    ...EVERYBODY,
    audit: RECORDS['audit']!,
    accounts: ['SELECT (id)'],
    deleted_users: ['SELECT', 'UPDATE (enclaves_removed_at)', 'DELETE'],
    enclaves: ['SELECT (user_id, name, deleting_at)'],
    orphans: ['SELECT', 'INSERT', 'DELETE'],
    orphan_permits: ['SELECT', 'DELETE'],
  },
};
