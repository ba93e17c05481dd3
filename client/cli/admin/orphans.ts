import type { Command } from 'commander';
import { addExample, addOutputOptions } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { formatUnixSeconds } from '../time';
import { withCaller } from './call';
import { parseCount } from './licence';
import { addAdminOptions } from './options';
import type { AdminOptions } from './options';

type Options = AdminOptions & OutputOptions;

/** `sls admin orphans …`: what is in the cluster and in no row of the database. */
export function addOrphans(admin: Command): void {
  const orphans = admin
    .command('orphans')
    .description("list and delete enclaves' objects that belong to no known user or enclave");

  const list = orphans.command('list').description('list all orphans, as the reaper found them last');
  addAdminOptions(addOutputOptions(list)).action(async (options: Options) => {
    await withCaller(options, async (caller) => {
      const { orphans: found } = await caller.call('listOrphans', {});
      const json = found.map(({ since, ...orphan }) => ({ ...orphan, since: formatUnixSeconds(since) }));
      const lines = json.map(({ kind, object, user, since }) => `${kind}/${object}  user ${user}  since ${since}`);
      new Output(options).result(json, lines.length > 0 ? lines : ['no orphans']);
    });
  });
  addExample(list, 'sls admin orphans list');

  const permit = orphans
    .command('permit')
    .description('let the reaper delete all of them at once, each when its time is up')
    .requiredOption('--count <n>', 'number of orphans, as `list` shows it')
    .requiredOption('--reason <text>', 'reason, for the audit record');
  addAdminOptions(addOutputOptions(permit)).action(async (options: Options & { count: string; reason: string }) => {
    const out = new Output(options);
    const objects = parseCount('count', options.count);
    await withCaller(options, async (caller) => {
      const { until } = await caller.call('permitOrphans', { objects, reason: options.reason });
      out.done(`the reaper may delete ${objects} orphans until ${formatUnixSeconds(until)}`);
      out.result({ count: objects, until: formatUnixSeconds(until) }, []);
    });
  });
  addExample(permit, 'sls admin orphans permit --count 40 --reason "users of the closed department"');
}
