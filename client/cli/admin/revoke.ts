import type { Command } from 'commander';
import type { RevocationSubject, RevokeRequest } from '../../../proto/gen/licensing/v1/admin';
import { addExample, addOutputOptions } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { withCaller } from './call';
import type { AdminCaller } from './call';
import { addAdminOptions } from './options';
import type { AdminOptions } from './options';

interface RevocationKind {
  /** Name of the argument. */
  argument: string;
  /** In sentences. */
  what: string;
  subject(text: string): Omit<RevokeRequest, 'reason'>;
}

const DONE = {
  revoke: ['is revoked', 'was revoked already'],
  restore: ['is trusted again', 'was not revoked'],
} as const;
const FELT = 'login and clients refuse it within a minute';

/** Adds `revoke` and `restore` to a group of commands. */
export function addRevocationCommands(group: Command, { argument, what, subject }: RevocationKind): void {
  for (const verb of ['revoke', 'restore'] as const) {
    const command = group
      .command(verb)
      .description(
        verb === 'revoke'
          ? `stop trusting a ${what}: ${what === 'user' ? 'their sessions end immediately' : FELT}`
          : `trust a ${what} again`,
      )
      .argument(`<${argument}>`)
      .requiredOption('--reason <text>', 'reason, for the audit record');
    addAdminOptions(addOutputOptions(command)).action(
      async (text: string, options: AdminOptions & OutputOptions & { reason: string }) => {
        const out = new Output(options);
        await withCaller(options, async (caller) => {
          const known = verb === 'restore' || (await isEnrolled(caller, subject(text).subject));
          const answer = await caller.call(verb, { ...subject(text), reason: options.reason });
          out.done(`${what} ${text} ${DONE[verb][answer.changed ? 0 : 1]}`);
          if (!known)
            out.warning(
              `no enrolled node has this ${what}: is it the right one? The revocation counts if it ever enrols; to take it back: sls admin ${group.name()} restore`,
            );
          out.result({ ...describeSubject(answer.subject), changed: answer.changed, known }, []);
        });
      },
    );
    addExample(
      command,
      `sls admin ${group.name()} ${verb} ${argument === 'sha256' ? '9ab1…' : argument} --reason "stolen"`,
    );
  }
}

/** Whether an enrolled node has it now. Of users the service says by itself. */
async function isEnrolled(caller: AdminCaller, subject: RevocationSubject | undefined): Promise<boolean> {
  const named = subject?.subject;
  if (named === undefined || named.$case === 'user') return true;
  const { nodes } = await caller.call('listNodes', {});
  return nodes.some(({ name, akSha256, ekSha256 }) => [name, akSha256, ekSha256].includes(named.value.toLowerCase()));
}

const KINDS = { node: 'node', attestationKey: 'ak', endorsementKey: 'ek', user: 'user' } as const;

/** What a revocation is about, as it stands in a list. */
export function describeSubject(subject: RevocationSubject | undefined): { kind: string; subject: string } {
  const named = subject?.subject;
  return named ? { kind: KINDS[named.$case], subject: named.value } : { kind: 'unknown', subject: '' };
}
