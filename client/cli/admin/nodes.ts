import type { Command } from 'commander';
import { addExample, addOutputOptions } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { formatUnixSeconds } from '../time';
import { withCaller } from './call';
import { addAdminOptions } from './options';
import type { AdminOptions } from './options';
import { addRevocationCommands } from './revoke';

type Options = AdminOptions & OutputOptions;

/** `sls admin nodes …`: which TPM each node's name belongs to, and whether it is trusted. */
export function addNodes(admin: Command): void {
  const nodes = admin.command('nodes').description('manage nodes and the TPMs bound to their names');

  const list = nodes.command('list').description('list all enrolled nodes');
  addAdminOptions(addOutputOptions(list)).action(async (options: Options) => {
    await withCaller(options, async (caller) => {
      const { nodes: found } = await caller.call('listNodes', {});
      const json = found.map(({ boundAt, enrolledAt, details, ...node }) => ({
        ...node,
        boundAt: formatUnixSeconds(boundAt),
        enrolledAt: formatUnixSeconds(enrolledAt),
        tpm: JSON.parse(details) as unknown,
      }));
      const lines = json.flatMap(({ name, ekSha256, akSha256, enrolledAt, revoked, tpm }) => [
        `${name}${revoked ? '  REVOKED' : ''}`,
        `    enrolled  ${enrolledAt}`,
        `    EK        ${ekSha256}`,
        `    AK        ${akSha256 || 'none yet'}`,
        `    TPM       ${JSON.stringify(tpm)}`,
      ]);
      new Output(options).result(json, lines);
    });
  });
  addExample(list, 'sls admin nodes list');

  const approve = nodes
    .command('approve')
    .description("bind a node's name to another TPM, after its machine or its TPM was replaced")
    .argument('<node>')
    .requiredOption(
      '--ek <sha256>',
      "SHA-256 of the new TPM's endorsement key, from the audit record of the refused enrolment",
    )
    .requiredOption('--reason <text>', 'reason, for the audit record');
  addAdminOptions(addOutputOptions(approve)).action(
    async (node: string, options: Options & { ek: string; reason: string }) => {
      const out = new Output(options);
      await withCaller(options, async (caller) => {
        const { previousEkSha256 } = await caller.call('approveNode', {
          node,
          ekSha256: options.ek,
          reason: options.reason,
        });
        out.done(
          `${node} is bound to the TPM with endorsement key ${options.ek}${previousEkSha256 === '' ? '' : `, no longer to ${previousEkSha256}`}`,
        );
        out.result({ node, ekSha256: options.ek, previousEkSha256 }, []);
      });
    },
  );
  addExample(approve, 'sls admin nodes approve node-7 --ek 3f1c… --reason "new mainboard"');

  addRevocationCommands(nodes, {
    argument: 'node',
    what: 'node',
    subject: (node) => ({ subject: { subject: { $case: 'node', value: node } }, username: '' }),
  });
}
