import { status } from '@grpc/grpc-js';
import type { Command } from 'commander';
import type { TrustBundle } from '../../../attestation/trust/bundle';
import { checkAuditLog, LogError, readLoginRecord, RpcError } from '../../index';
import type { FoundLogin } from '../../index';
import { callOptions } from '../call-options';
import { CliError, EXIT } from '../exit';
import { describeHead, extendingMemory, readHeadFile } from '../extending-memory';
import { LogMemory } from '../log-memory';
import { addExample, addOutputOptions, addTrustOptions } from '../options';
import type { CommonOptions } from '../options';
import { Output } from '../output';
import { currentTrust, sessionTrust } from '../session-file';
import { loadSignedTrust, loadTrust } from '../trust';
import { TrustKeeper } from '../trust-keeper';

/** `sls audit …`: the service's log of decisions, as a user checks it. */
export function addAuditCheck(program: Command): void {
  const audit = program.command('audit').description("check the service's tamper-evident audit log");
  const check = audit
    .command('check')
    .description('check that the audit log is append-only and contains every login from this machine')
    .option(
      '--head <file...>',
      'heads shown to other people (from sls audit check --json): the log must extend them as well',
    );
  addTrustOptions(addOutputOptions(check)).action(runCheck);
  addExample(check, 'sls audit check', 'sls audit check --json > mine.json', 'sls audit check --head from-grace.json');

  const forget = audit
    .command('forget')
    .description(
      'forget the remembered head of the audit log, after your operator tells you that a backup was restored',
    );
  addTrustOptions(addOutputOptions(forget)).action(runForget);
  addExample(forget, 'sls audit forget');
}

async function runCheck(options: CommonOptions & { head?: string[] }): Promise<void> {
  const out = new Output(options);
  const named = options.trust !== undefined || options.server !== undefined;
  const { signed } = (named ? undefined : await sessionTrust()) ?? (await loadSignedTrust(options));
  const trust = await currentTrust(() => loadTrust(options), options);
  const memory = await LogMemory.of(trust);
  const logins = await memory.logins();
  const others = await Promise.all((options.head ?? []).map(readHeadFile));
  // Asked where it is reached now, whatever a newer bundle says.
  const keeper = new TrustKeeper({ bundle: trust, signed }, { services: trust.services }, out);
  out.progress('looking at the audit log');
  const {
    head,
    before,
    logins: found,
  } = await extendingMemory(memory, out, (known, onHead) =>
    checkAuditLog(keeper.trust, {
      ...callOptions(),
      known,
      others,
      logins,
      onHead,
      onTrust: keeper.onTrust,
      onProgress: (done) => out.counter(`${done} of ${logins.length} logins looked up`),
    }),
  ).catch((error: unknown) => {
    throw explained(error, keeper.trust);
  });
  out.erase();
  const json = {
    trustDomain: trust.trustDomain,
    head: describeHead(head),
    before: before ? describeHead(before) : null,
    logins: found.map(describeLogin),
  };
  out.done(summary(trust, json));
  out.result(
    json,
    json.logins.map(
      ({ at, state, record, session, workload, node }) =>
        `${at}  ${state === 'logged' ? `record ${record}` : 'not in the log yet'}  session ${session}  enclave ${workload} on ${node}`,
    ),
  );
}

/** Of an installation that has no log, or whose log this client does not know of yet. */
function explained(error: unknown, { trustDomain, logKeys }: TrustBundle): unknown {
  const none = error instanceof RpcError && error.grpcStatus === status.UNIMPLEMENTED;
  if (none && logKeys)
    return new CliError(
      EXIT.unavailable,
      error.message,
      { code: 'log.none', hint: 'the service has no audit log to show; this is expected while it is being updated' },
      { cause: error },
    );
  if (logKeys || !(none || error instanceof LogError)) return error;
  return new CliError(
    EXIT.failure,
    `the trust bundle of ${trustDomain} names no audit log to check`,
    { code: 'log.none', hint: 'your trust bundle may be out of date: sls trust add fetches a newer one' },
    { cause: error },
  );
}

function describeLogin({ receipt, sequence }: FoundLogin): {
  at: string;
  session: string;
  workload: string;
  node: string;
  state: 'logged' | 'pending';
  record: number | null;
} {
  const { at, session, workloadUid, node } = readLoginRecord(receipt.record);
  return {
    at: at.toISOString(),
    session,
    workload: workloadUid,
    node,
    state: sequence === undefined ? 'pending' : 'logged',
    record: sequence ?? null,
  };
}

function summary(
  { trustDomain }: TrustBundle,
  {
    head,
    before,
    logins,
  }: { head: { size: number }; before: { size: number; at: string } | null; logins: Array<{ state: string }> },
): string {
  const pending = logins.filter(({ state }) => state === 'pending').length;
  const logged = logins.length - pending;
  const grown = before ? `has only grown since ${before.at}` : 'is remembered from now on';
  const own =
    logged === 0
      ? 'no login of this machine is known to be in it'
      : `${logged} ${logged === 1 ? 'login of this machine is' : 'logins of this machine are'} in it`;
  const late =
    pending === 0 ? '' : `; ${pending} ${pending === 1 ? 'is' : 'are'} not in it yet: look again in a minute`;
  return `the audit log of ${trustDomain}, ${head.size} ${head.size === 1 ? 'record' : 'records'}, ${grown}; ${own}${late}`;
}

async function runForget(options: CommonOptions): Promise<void> {
  const trust = await currentTrust(() => loadTrust(options), options);
  const forgotten = await (await LogMemory.of(trust)).forget();
  const out = new Output(options);
  out.done(
    forgotten
      ? `what this machine remembered of the audit log of ${trust.trustDomain} is forgotten`
      : `nothing was remembered of the audit log of ${trust.trustDomain}`,
  );
  out.result({ forgotten }, []);
}
