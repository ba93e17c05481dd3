import type { Command } from 'commander';
import { isUuid } from '../../../attestation/bytes/uuid';
import { addExample, addOutputOptions } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { formatUnixSeconds } from '../time';
import { withCaller } from './call';
import { addAdminOptions } from './options';
import type { AdminOptions } from './options';
import { addRevocationCommands, describeSubject } from './revoke';

/** `sls admin user …`: by username, or by the id that stands in certificates and evidence. */
export function addUser(admin: Command): void {
  const user = admin.command('user').description('manage users, by name or id');
  addRevocationCommands(user, {
    argument: 'user',
    what: 'user',
    subject: (text) =>
      isUuid(text)
        ? { subject: { subject: { $case: 'user', value: text } }, username: '' }
        : { subject: undefined, username: text },
  });
  addResetSecondFactor(user);
  addDelete(user);
}

function named(text: string): { user: string; username: string } {
  return isUuid(text) ? { user: text, username: '' } : { user: '', username: text };
}

function addDelete(group: Command): void {
  const command = group
    .command('delete')
    .description('delete a user permanently, with enclaves, files, sessions and licences; audit records keep the id')
    .argument('<user>')
    .requiredOption('--reason <text>', 'reason, for the audit record; it outlives the account, so name nobody in it');
  addAdminOptions(addOutputOptions(command)).action(
    async (text: string, options: AdminOptions & OutputOptions & { reason: string }) => {
      const out = new Output(options);
      await withCaller(options, async (caller) => {
        const { user, enclavesRemoved } = await caller.call('deleteUser', { ...named(text), reason: options.reason });
        out.done(`user ${user} is deleted${enclavesRemoved ? '' : '; the service is still removing their enclaves'}`);
        out.result({ user, deleted: true, enclavesRemoved }, []);
      });
    },
  );
  addExample(command, 'sls admin user delete ada --reason "asked for it in writing"');
}

function addResetSecondFactor(group: Command): void {
  const command = group
    .command('reset-second-factor')
    .description('remove the second factor of a user who lost it: their password alone logs them in again')
    .argument('<user>')
    .requiredOption('--reason <text>', "reason, for the audit record: how you confirmed the user's identity");
  addAdminOptions(addOutputOptions(command)).action(
    async (text: string, options: AdminOptions & OutputOptions & { reason: string }) => {
      const out = new Output(options);
      await withCaller(options, async (caller) => {
        const { user, changed } = await caller.call('resetSecondFactor', { ...named(text), reason: options.reason });
        out.done(changed ? `the second factor of user ${text} is removed` : `user ${text} had no second factor`);
        out.result({ user, changed }, []);
      });
    },
  );
  addExample(command, 'sls admin user reset-second-factor ada --reason "lost phone, seen in person"');
}

/** `sls admin ak …` and `sls admin ek …`: keys of TPMs, by the SHA-256 of their TPMT_PUBLIC. */
export function addKeys(admin: Command): void {
  addRevocationCommands(admin.command('ak').description('manage attestation keys, by SHA-256'), {
    argument: 'sha256',
    what: 'attestation key',
    subject: (value) => ({ subject: { subject: { $case: 'attestationKey', value } }, username: '' }),
  });
  addRevocationCommands(admin.command('ek').description('manage endorsement keys, by SHA-256'), {
    argument: 'sha256',
    what: 'endorsement key',
    subject: (value) => ({ subject: { subject: { $case: 'endorsementKey', value } }, username: '' }),
  });
}

/** `sls admin revocations`: everything that is revoked, and why. */
export function addRevocations(admin: Command): void {
  const command = admin.command('revocations').description('list everything that is revoked, with reasons');
  addAdminOptions(addOutputOptions(command)).action(async (options: AdminOptions & OutputOptions) => {
    await withCaller(options, async (caller) => {
      const { revocations } = await caller.call('listRevocations', {});
      const json = revocations.map(({ subject, revokedAt, revokedBy, reason }) => ({
        ...describeSubject(subject),
        revokedAt: formatUnixSeconds(revokedAt),
        revokedBy,
        reason,
      }));
      new Output(options).result(
        json,
        json.map(
          (entry) => `${entry.revokedAt}  ${entry.kind} ${entry.subject}  by ${entry.revokedBy}: ${entry.reason}`,
        ),
      );
    });
  });
  addExample(command, 'sls admin revocations');
}
