import { status } from '@grpc/grpc-js';
import { isUuid } from '../../attestation/bytes/uuid';
import {
  issueLicence,
  LICENCE_PAGE,
  listLicences,
  listLicenceUse,
  revokeLicence,
} from '../../licensing/licences/issue';
import type { IssuedLicence as IssuedRecord, LicenceCursor } from '../../licensing/licences/issue';
import { planFromMessage, planToMessage, stateToMessage } from '../../attestation/licences/messages';
import { MAX_GRACE_DAYS, MAX_LICENCE_YEARS, planSchema } from '../../attestation/licences/plan';
import type { Plan } from '../../attestation/licences/plan';
import { RpcError } from '../../runtime/rpc/errors';
import { fromUnixSeconds, toUnixSeconds } from '../../runtime/rpc/unix-time';
import type { Database } from '../../licensing/store/database';
import type { TokenKeys } from '../../licensing/tokens/keys';
import type {
  IssuedLicence,
  IssueLicenceRequest,
  IssueLicenceResponse,
  LicenceReport,
  ListLicencesRequest,
  ListLicencesResponse,
  ReportLicencesRequest,
  ReportLicencesResponse,
  RevokeLicenceRequest,
} from '../../proto/gen/licensing/v1/admin';
import type { Plan as PlanMessage } from '../../proto/gen/licensing/v1/licence';
import type { Administrator } from './authentication';
import { requireReason } from './requests';
import { signLicenceKey } from '../../licensing/licences/sign-key';
import { dateOf } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';
import type { AdministratorCode } from '../../errors/administrator';

export interface LicenceIssuer {
  database: Database;
  trustDomain: string;
  clock: Clock;
  /** Sign licence keys. Without them none is issued. */
  licenceKeys?: (() => Promise<TokenKeys>) | undefined;
}

const MAX_ACCOUNTS = 1_000_000;
function invalid(code: AdministratorCode, message: string): RpcError {
  return new RpcError(code, status.INVALID_ARGUMENT, message);
}

/**
 * Writes a licence down and signs its key, which is kept nowhere.
 * @throws RpcError INVALID_ARGUMENT; FAILED_PRECONDITION admin.licence_keys_missing
 */
export async function issueLicenceKey(
  { database, trustDomain, licenceKeys, clock }: LicenceIssuer,
  { name }: Administrator,
  request: IssueLicenceRequest,
): Promise<IssueLicenceResponse> {
  const plan = requirePlan(request.plan);
  const until = requireUntil(request.until, clock);
  const { graceDays, accounts } = request;
  if (graceDays > MAX_GRACE_DAYS)
    throw invalid('admin.licence_grace', `expected ${MAX_GRACE_DAYS} grace days at most, got ${graceDays}`);
  if (accounts < 1 || accounts > MAX_ACCOUNTS)
    throw invalid('admin.licence_accounts', `expected 1 to ${MAX_ACCOUNTS} accounts, got ${accounts}`);
  const reason = requireReason(request.reason);
  if (!licenceKeys)
    throw new RpcError(
      'admin.licence_keys_missing',
      status.FAILED_PRECONDITION,
      'this installation has no key to sign licences with',
    );
  const { signing } = await licenceKeys();
  const terms = await issueLicence(database, { plan, until, graceDays, accounts }, { administrator: name, reason });
  return { licence: terms.licence, key: await signLicenceKey(signing, terms, { trustDomain, now: dateOf(clock) }) };
}

function requirePlan(message: PlanMessage | undefined): Plan {
  const result = planSchema.safeParse(planFromMessage(message));
  if (result.success) return result.data;
  const lines = result.error.issues.map(({ path, message: text }) => `${path.join('.')}: ${text}`);
  throw invalid('admin.licence_plan', `the plan is wrong: ${lines.join('; ')}`);
}

function requireUntil(until: bigint, clock: Clock): Date {
  const date = fromUnixSeconds(until);
  const latest = dateOf(clock);
  latest.setUTCFullYear(latest.getUTCFullYear() + MAX_LICENCE_YEARS);
  if (date.getTime() > clock.now() && date <= latest) return date;
  throw invalid('admin.licence_until', `expected an end of the licence within ${MAX_LICENCE_YEARS} years from now`);
}

function requireLicence(id: string): string {
  if (isUuid(id)) return id;
  throw invalid(
    'admin.licence_id',
    'expected the id of a licence in the form of a UUID in lower case, got something else',
  );
}

function noLicence(): RpcError {
  return new RpcError('admin.no_such_licence', status.NOT_FOUND, 'there is no such licence');
}

/** @returns false when it was revoked already. @throws RpcError INVALID_ARGUMENT; NOT_FOUND admin.no_such_licence */
export async function revokeIssuedLicence(
  database: Database,
  { name }: Administrator,
  request: RevokeLicenceRequest,
): Promise<boolean> {
  const changed = await revokeLicence(database, requireLicence(request.licence), {
    administrator: name,
    reason: requireReason(request.reason),
  });
  if (changed === undefined) throw noLicence();
  return changed;
}

const CURSOR = /^([0-9a-f-]{36})\/([0-9a-f-]{36})?$/;

/** @throws RpcError INVALID_ARGUMENT admin.licence_page */
function readCursor(text: string): LicenceCursor | undefined {
  if (text === '') return undefined;
  const [, licence = '', user = ''] = CURSOR.exec(text) ?? [];
  if (isUuid(licence) && (user === '' || isUuid(user))) return { licence, user };
  throw invalid('admin.licence_page', 'expected the `next` of the answer before, got something else');
}

/** A page of all licences. @throws RpcError INVALID_ARGUMENT */
export async function issuedLicences(
  { database, clock }: LicenceIssuer,
  { after }: ListLicencesRequest,
): Promise<ListLicencesResponse> {
  const licences = await listLicences(database, dateOf(clock), readCursor(after));
  const last = licences[LICENCE_PAGE - 1];
  return { licences: licences.map(toMessage), next: last ? `${last.licence}/` : '' };
}

/** A page of who has which licence, and how many of its seats are taken. @throws RpcError INVALID_ARGUMENT; NOT_FOUND admin.no_such_licence */
export async function licenceUse(
  { database, clock }: LicenceIssuer,
  { licence, after }: ReportLicencesRequest,
): Promise<ReportLicencesResponse> {
  const only = licence === '' ? undefined : requireLicence(licence);
  const uses = await listLicenceUse(database, dateOf(clock), { licence: only, after: readCursor(after) });
  if (only !== undefined && after === '' && uses.length === 0) throw noLicence();
  const reports = new Map<string, LicenceReport>();
  for (const { licence: record, seatsInUse, account } of uses) {
    const about = reports.get(record.licence) ?? { licence: toMessage(record), redemptions: [], seatsInUse };
    if (account) about.redemptions.push({ ...account, redeemedAt: toUnixSeconds(account.redeemedAt) });
    reports.set(record.licence, about);
  }
  const last = uses[LICENCE_PAGE - 1];
  return { reports: [...reports.values()], next: last ? `${last.licence.licence}/${last.account?.user ?? ''}` : '' };
}

function toMessage(record: IssuedRecord): IssuedLicence {
  const {
    licence,
    plan,
    issuedAt,
    issuedBy,
    reason,
    until,
    graceUntil,
    accounts,
    redeemed,
    state,
    revokedBy = '',
    revokedReason = '',
  } = record;
  return {
    licence,
    plan: planToMessage(plan),
    issuedAt: toUnixSeconds(issuedAt),
    issuedBy,
    reason,
    until: toUnixSeconds(until),
    graceUntil: toUnixSeconds(graceUntil),
    accounts,
    redeemed,
    state: stateToMessage(state),
    revokedBy,
    revokedReason,
  };
}
