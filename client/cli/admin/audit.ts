import type { Command } from 'commander';
import { fromServiceError, isServiceError } from '../../../runtime/rpc/errors';
import type { TailAuditResponse } from '../../../proto/gen/licensing/v1/admin';
import { CliError, EXIT } from '../exit';
import { addExample, addOutputOptions } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { outputWritten } from '../standard-output';
import { addVerify } from './audit-verify';
import { AdminCaller } from './call';
import { addAdminOptions } from './options';
import type { AdminOptions } from './options';

type Options = AdminOptions & OutputOptions & { follow?: boolean; after?: string };

/** `sls admin audit …`: decisions about who is trusted, as a log that only grows. */
export function addAudit(admin: Command): void {
  const audit = admin.command('audit').description('show decisions about who is trusted');
  addTail(audit);
  addVerify(audit);
}

function addTail(audit: Command): void {
  const command = audit
    .command('tail')
    .description('print the audit records, oldest first')
    .option('-f, --follow', 'keep printing new records')
    .option('--after <id>', 'print only records after this one (default: all)');
  addAdminOptions(addOutputOptions(command)).action(run);
  addExample(command, 'sls admin audit tail --follow');
}

async function run(options: Options): Promise<void> {
  if (options.after !== undefined && !/^\d{1,18}$/.test(options.after))
    throw new CliError(EXIT.usage, `expected --after ID, a number, got ${JSON.stringify(options.after)}`);
  // Not told of --json: its documents are whole results, these are lines.
  const out = new Output({ quiet: options.quiet });
  const caller = await AdminCaller.open(options);
  try {
    const call = await caller.tailAudit({
      after: options.after === undefined ? undefined : BigInt(options.after),
      follow: options.follow === true,
    });
    // One JSON document a line with --json: a stream has no end to wait for.
    for await (const message of call) {
      const { id, at, kind, detail } = message as TailAuditResponse;
      const record = {
        id: Number(id),
        at: new Date(Number(at)).toISOString(),
        kind,
        detail: JSON.parse(detail) as unknown,
      };
      out.result(undefined, [options.json ? JSON.stringify(record) : `${record.at}  ${record.id}  ${kind}  ${detail}`]);
      await outputWritten();
    }
  } catch (error) {
    throw isServiceError(error) ? fromServiceError(error) : error;
  } finally {
    caller.close();
  }
}
