import type { Command } from 'commander';
import { open, rm } from 'node:fs/promises';
import { createReadStream } from 'node:fs';
import { CliError, EXIT } from '../exit';
import { readInput } from '../input';
import { addExample, addOutputOptions } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { DIR, installationFolder } from './options';
import { onFile } from '../../../runtime/name-path';
import { dateOf, systemClock } from '../../../runtime/clock';

interface BackupOptions extends OutputOptions {
  dir?: string;
  recipient: string[];
  out: string;
}

interface RestoreOptions extends OutputOptions {
  dir?: string;
  identity: string;
  reason: string;
  acceptLostChanges?: boolean;
}

/** `sls admin backup`: keys, files and database of `sls up`, encrypted to whoever may restore them. */
export function addBackup(admin: Command): void {
  const collect = (value: string, before: string[]): string[] => [...before, value];
  const command = admin
    .command('backup')
    .description('write the keys and the database of sls up on this machine into one encrypted file')
    .option('--dir <folder>', DIR)
    .option('--recipient <recipient>', 'who can restore it: a recipient of age, age1…; may be given again', collect, [])
    .requiredOption('--out <file>', 'the file to write; one that is there is refused');
  addOutputOptions(command).action(runBackup);
  addExample(command, 'sls admin backup --recipient age1… --out sls-2026-12-01.age');
}

async function runBackup(options: BackupOptions): Promise<void> {
  const out = new Output(options);
  if (options.recipient.length === 0)
    throw new CliError(EXIT.usage, 'expected --recipient age1…, got none', {
      hint: 'a backup holds every key, so it is never written in the clear; age-keygen makes a key, and prints its recipient',
    });
  const { backUp } = await import('../../../launcher/backup');
  const file = await open(options.out, 'wx', 0o600).catch((cause: NodeJS.ErrnoException) => {
    throw new CliError(
      EXIT.usage,
      `can't write the backup to ${options.out}: ${cause.code ?? cause.message}`,
      {},
      { cause },
    );
  });
  let whole = false;
  try {
    let bytes = 0;
    const { database, createdAt, trustDomain } = await backUp(
      installationFolder(options),
      { recipients: options.recipient, report: (line) => out.progress(line) },
      async (piece) => {
        await onFile(options.out, () => file.writeFile(piece));
        bytes += piece.length;
      },
    );
    await onFile(options.out, () => file.sync());
    whole = true;
    out.done(`backup of ${trustDomain} in ${options.out}: ${bytes} bytes`);
    if (database === null)
      out.warning(
        'the database of this installation is elsewhere, and is not in the backup: back it up with pg_dump at the same time',
      );
    out.note("users' files are not in it: they are in the folder workspaces");
    out.result({ file: options.out, bytes, createdAt, trustDomain, database }, []);
  } finally {
    await file.close();
    if (!whole) await rm(options.out, { force: true });
  }
}

/** `sls admin restore`: a new installation from a backup. */
export function addRestore(admin: Command): void {
  const command = admin
    .command('restore')
    .description('make the installation of sls up on this machine anew from a backup, in a folder that is empty')
    .argument('<backup>', 'file that sls admin backup wrote')
    .requiredOption(
      '--identity <file>',
      'file with the key of one of its recipients, as age-keygen writes it (-: standard input)',
    )
    .option('--dir <folder>', DIR)
    .option('--reason <text>', 'why, for the audit log', 'restored from a backup')
    .option(
      '--accept-lost-changes',
      'what changed after the backup is lost: revocations, deleted accounts, changed passwords are as they were',
    );
  addOutputOptions(command).action(runRestore);
  addExample(command, 'sls admin restore sls-2026-12-01.age --identity key.txt --accept-lost-changes');
}

async function runRestore(backup: string, options: RestoreOptions): Promise<void> {
  const out = new Output(options);
  if (options.acceptLostChanges !== true)
    throw new CliError(EXIT.usage, 'expected --accept-lost-changes, got none', {
      hint: 'after a restore revoked users and keys may be good again, deleted accounts are back, and passwords are those of the backup. List what was changed since (sls admin audit tail, where the old installation still runs), and do it again afterwards',
    });
  const text = await readInput(options.identity, 'the key', { hint: 'age-keygen wrote it' });
  const { readIdentities } = await import('../../../installation/backup/encryption');
  const { restoreFrom } = await import('../../../launcher/restore');
  const folder = installationFolder(options);
  const { header, sessionsEnded } = await restoreFrom(folder, () => bytesOf(backup), {
    identities: readIdentities(text),
    reason: options.reason,
    report: (line) => out.progress(line),
  });
  out.done(`${header.trustDomain} as of ${header.createdAt} is in ${folder}`);
  if (header.database === null)
    out.warning('its database is elsewhere: restore it by pg_restore, and name it with sls up --database-url-file');
  else out.note(`${sessionsEnded} sessions ended: everybody logs in again`);
  out.note(
    `revoke again what was revoked after ${header.createdAt}, and tell your users: whoever changed a password since has the old one, and clients that saw a later audit log refuse until sls audit forget`,
  );
  out.result({ folder, ...header, restoredAt: dateOf(systemClock).toISOString(), sessionsEnded }, []);
}

async function* bytesOf(file: string): AsyncGenerator<Uint8Array> {
  try {
    yield* createReadStream(file) as AsyncIterable<Uint8Array>;
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new CliError(EXIT.usage, `can't read the backup ${file}: ${code ?? message}`, {}, { cause });
  }
}
