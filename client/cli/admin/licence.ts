import type { Command } from 'commander';
import { planFromMessage, stateFromMessage } from '../../../attestation/licences/messages';
import { fromUnixSeconds } from '../../../runtime/rpc/unix-time';
import type {
  IssuedLicence,
  LicenceReport,
  ListLicencesResponse,
  ReportLicencesResponse,
} from '../../../proto/gen/licensing/v1/admin';
import { CliError, EXIT } from '../exit';
import { describePlan, describeState } from '../licence-report';
import { addExample, addOutputOptions } from '../options';
import { Output } from '../output';
import { openOutputFile } from '../output-file';
import { outputWritten } from '../standard-output';
import type { OutputOptions } from '../output';
import { withCaller } from './call';
import type { AdminCaller } from './call';
import { addAdminOptions } from './options';
import type { AdminOptions } from './options';
import { parseTime } from '../time';
import { systemClock } from '../../../runtime/clock';

type Options = AdminOptions & OutputOptions;

interface IssueOptions extends Options {
  plan: string;
  image?: string[];
  enclaves: string;
  seats: string;
  cpu?: string;
  memory?: string;
  until?: string;
  days?: string;
  graceDays: string;
  accounts: string;
  reason: string;
  out?: string;
}

/** `sls admin licence …`: licences of users. */
export function addLicences(admin: Command): void {
  const licence = admin
    .command('licence')
    .description('manage licences: what users may run, how many at once, and until when');
  addIssue(licence);

  const list = licence.command('list').description('list all issued licences, newest first');
  addAdminOptions(addOutputOptions(list)).action(runList);
  addExample(list, 'sls admin licence list');

  const revoke = licence
    .command('revoke')
    .description('revoke a licence: logins under it are refused from now on; running enclaves continue')
    .argument('<id>')
    .requiredOption('--reason <text>', 'reason, for the audit record');
  addAdminOptions(addOutputOptions(revoke)).action(runRevoke);
  addExample(revoke, 'sls admin licence revoke 7d4b2f0c-… --reason "unpaid"');

  const report = licence
    .command('report')
    .description('show who holds each licence, how many seats are taken, and when it ends')
    .argument('[id]', 'show this licence only');
  addAdminOptions(addOutputOptions(report)).action(runReport);
  addExample(report, 'sls admin licence report --json');
}

function addIssue(licence: Command): void {
  const command = licence
    .command('issue')
    .description('issue a licence and print its key: anyone who has the key can redeem it, and no copy is kept')
    .requiredOption('--plan <name>', 'display name of the plan, such as team')
    .option('--days <days>', 'lifetime from now, in days')
    .option(
      '--until <time>',
      'last day of the licence, through its end in UTC, or a time with its zone (2027-01-31T18:00+01:00); instead of --days',
    )
    .option('--grace-days <days>', 'days after the end during which logins still work', '14')
    .option('--accounts <count>', 'number of accounts that may hold it at once', '1')
    .option('--seats <count>', 'concurrent sessions across all of its accounts', '16')
    .option('--enclaves <count>', 'named enclaves per user', '4')
    .option(
      '--image <digest...>',
      'images that its enclaves may run, sha256:HEX (default: any that the operator allows)',
    )
    .option('--cpu <quantity>', 'CPU limit per enclave, such as 2 or 500m; enforced in a cluster only')
    .option('--memory <quantity>', 'memory limit per enclave, such as 2Gi; enforced in a cluster only')
    .requiredOption('--reason <text>', 'recipient or purpose, for the list and the audit record')
    .option('--out <file>', 'write the key to this file (mode 0600) instead of printing it');
  addAdminOptions(addOutputOptions(command)).action(runIssue);
  addExample(
    command,
    'sls admin licence issue --plan team --days 365 --accounts 10 --seats 5 --reason "order 7" --out team.licence',
  );
}

/** A whole number of an option. @throws CliError usage */
export function parseCount(name: string, text: string, least = 1): number {
  if (/^\d{1,7}$/.test(text) && Number(text) >= least) return Number(text);
  throw new CliError(EXIT.usage, `expected --${name} from ${least}, got ${JSON.stringify(text)}`);
}

function endOf({ until, days }: Pick<IssueOptions, 'until' | 'days'>): bigint {
  if ((until === undefined) === (days === undefined))
    throw new CliError(EXIT.usage, 'expected exactly one of --days DAYS and --until TIME');
  const end =
    until === undefined
      ? systemClock.now() + parseCount('days', days as string) * 86_400_000
      : parseTime('--until', until, 'end').getTime();
  return BigInt(Math.floor(end / 1000));
}

async function runIssue(options: IssueOptions): Promise<void> {
  const out = new Output(options);
  const { plan: name, image: images = [], cpu = '', memory = '', reason } = options;
  const until = endOf(options);
  const request = {
    plan: {
      name,
      images,
      enclaves: parseCount('enclaves', options.enclaves),
      seats: parseCount('seats', options.seats),
      cpu,
      memory,
    },
    until,
    graceDays: parseCount('grace-days', options.graceDays, 0),
    accounts: parseCount('accounts', options.accounts),
    reason,
  };
  // A file that is there is somebody's: it may be the key of another licence.
  const file =
    options.out === undefined
      ? undefined
      : await openOutputFile(options.out, 'the key', { mode: 0o600, exclusive: true });
  await withCaller(options, async (caller) => {
    const { licence, key } = await caller.call('issueLicence', request);
    await file?.write(`${key}\n`).catch((error: unknown) => notWritten(caller, licence, error));
    out.done(
      `licence ${licence} is issued: ${name}, until ${fromUnixSeconds(until).toISOString()}${options.out === undefined ? '' : `; its key is in ${options.out}`}`,
    );
    out.result(
      {
        licence,
        ...(options.out === undefined ? { key } : { file: options.out }),
        until: fromUnixSeconds(until).toISOString(),
      },
      options.out === undefined ? [key] : [],
    );
    await outputWritten().catch((error: unknown) => notWritten(caller, licence, error));
  }).finally(() => file?.close());
}

/** A licence whose key nobody has is worth nothing, and would stand in the list for ever. */
async function notWritten(caller: AdminCaller, licence: string, error: unknown): Promise<never> {
  await caller.call('revokeLicence', { licence, reason: 'its key could not be written' });
  throw new CliError(EXIT.failure, `${(error as Error).message}; the licence is revoked again`, {}, { cause: error });
}

async function runList(options: Options): Promise<void> {
  await withCaller(options, async (caller) => {
    const found: IssuedLicence[] = [];
    for (let after: string | undefined = ''; after !== undefined;) {
      const page: ListLicencesResponse = await caller.call('listLicences', { after });
      found.push(...page.licences);
      after = page.next || undefined;
    }
    const licences = found.map(describe);
    new Output(options).result(
      licences.map(({ json }) => json),
      licences.flatMap(({ lines }) => lines),
    );
  });
}

async function runRevoke(licence: string, options: Options & { reason: string }): Promise<void> {
  const out = new Output(options);
  await withCaller(options, async (caller) => {
    const { changed } = await caller.call('revokeLicence', { licence, reason: options.reason });
    out.done(`licence ${licence} ${changed ? 'is revoked' : 'was revoked already'}`);
    out.result({ licence, changed }, []);
  });
}

async function runReport(licence: string | undefined, options: Options): Promise<void> {
  await withCaller(options, async (caller) => {
    const reports = new Map<string, LicenceReport>();
    for (let after: string | undefined = ''; after !== undefined;) {
      const page: ReportLicencesResponse = await caller.call('reportLicences', { licence: licence ?? '', after });
      for (const report of page.reports) {
        const id = report.licence?.licence ?? '';
        const begun = reports.get(id);
        // One that goes on from the page before.
        if (begun) begun.redemptions.push(...report.redemptions);
        else reports.set(id, report);
      }
      after = page.next || undefined;
    }
    const described = [...reports.values()].map(({ licence: issued, redemptions, seatsInUse }) => {
      const { json, lines } = describe(issued as IssuedLicence);
      const accounts = redemptions.map(({ redeemedAt, ...account }) => ({
        ...account,
        redeemedAt: fromUnixSeconds(redeemedAt).toISOString(),
      }));
      return {
        json: { ...json, seatsInUse, redemptions: accounts },
        lines: [
          ...lines,
          `    in use       ${seatsInUse} of ${json.plan?.seats ?? 0} seats`,
          ...accounts.map(({ user, username, redeemedAt }) => `    ${username} (${user})  since ${redeemedAt}`),
        ],
      };
    });
    new Output(options).result(
      described.map(({ json }) => json),
      described.flatMap(({ lines }) => lines),
    );
  });
}

function describe(issued: IssuedLicence) {
  const { plan, issuedAt, until, graceUntil, state, accounts, redeemed, revokedBy, revokedReason, ...rest } = issued;
  const allowed = planFromMessage(plan);
  const stands = stateFromMessage(state);
  const revoked = stands === 'revoked' ? { revokedBy, revokedReason } : {};
  const times = {
    issuedAt: fromUnixSeconds(issuedAt).toISOString(),
    until: fromUnixSeconds(until).toISOString(),
    graceUntil: fromUnixSeconds(graceUntil).toISOString(),
  };
  return {
    json: { ...rest, plan: allowed, state: stands, accounts, redeemed, ...times, ...revoked },
    lines: [
      `${rest.licence}  ${allowed.name}  ${describeState(stands, fromUnixSeconds(until), fromUnixSeconds(graceUntil))}${stands === 'revoked' ? ` by ${revokedBy}: ${revokedReason}` : ''}`,
      ...describePlan(allowed),
      `    accounts     ${redeemed} of ${accounts}`,
      `    issued       ${times.issuedAt} by ${rest.issuedBy}: ${rest.reason}`,
    ],
  };
}
