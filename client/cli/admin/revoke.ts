import type { Command } from 'commander';
import type { RevocationSubject, RevokeRequest } from '../../../proto/gen/licensing/v1/admin';
import { addExample, addOutputOptions } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { withCaller } from './call';
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
          const answer = await caller.call(verb, { ...subject(text), reason: options.reason });
          out.done(`${what} ${text} ${DONE[verb][answer.changed ? 0 : 1]}`);
          out.result({ ...describeSubject(answer.subject), changed: answer.changed }, []);
        });
      },
    );
    addExample(
      command,
      `sls admin ${group.name()} ${verb} ${argument === 'sha256' ? '9ab1…' : argument} --reason "stolen"`,
    );
  }
}

const KINDS = { node: 'node', attestationKey: 'ak', endorsementKey: 'ek', user: 'user' } as const;

/** What a revocation is about, as it stands in a list. */
export function describeSubject(subject: RevocationSubject | undefined): { kind: string; subject: string } {
  const named = subject?.subject;
  return named ? { kind: KINDS[named.$case], subject: named.value } : { kind: 'unknown', subject: '' };
}
