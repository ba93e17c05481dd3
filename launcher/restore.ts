import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
import { readArchive } from '../installation/backup/archive';
import type { BackupHeader, Section } from '../installation/backup/archive';
import { decryptText } from '../installation/backup/encryption';
import { BackupError } from '../licensing/backup/errors';
import { requireKnownSchema, restoreDatabase } from '../licensing/backup/load';
import type { TableRows } from '../licensing/backup/tables';
import { ifThere, writeWhole } from '../runtime/files/whole-file';
import { withEmbeddedPostgres } from './postgres/embedded';

interface RestoreOptions {
  identities: readonly string[];
  /** Into the audit log. */
  reason: string;
  report(line: string): void;
}

/**
 * Makes an installation from a backup, whole or not at all. It is read to its end first, then once more beside the folder's place, and moved there when all is well.
 * @param folder one that isn't there, or is empty
 * @param open gives the encrypted bytes, each time from the beginning
 * @returns what the backup is, and how many sessions ended
 * @throws BackupError; LauncherError; what `open` throws
 */
export async function restoreFrom(
  folder: string,
  open: () => AsyncIterable<Uint8Array>,
  { identities, reason, report }: RestoreOptions,
): Promise<{ header: BackupHeader; sessionsEnded: number }> {
  const target = resolve(folder);
  if (((await ifThere(readdir(target))) ?? []).length > 0)
    throw new BackupError(
      'backup.database_in_use',
      `expected a folder that isn't there, or is empty, got one with files in it: ${target}`,
      'move it away first, or name another one with --dir',
    );
  report('reading the backup');
  await checkWhole(await decryptText(open(), identities));
  const draft = `${target}.restoring`;
  await rm(draft, { recursive: true, force: true });
  await mkdir(dirname(target), { recursive: true, mode: 0o700 });
  await mkdir(draft, { mode: 0o700 });
  try {
    const { header, sections } = await readArchive(await decryptText(open(), identities));
    report('writing keys and files');
    const tables = await writeFiles(draft, sections);
    const sessionsEnded =
      header.database === null ? 0 : await loadTables(draft, header.database, tables, { header, reason, report });
    await rm(target, { recursive: true, force: true });
    await rename(draft, target);
    return { header, sessionsEnded };
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    throw error;
  }
}

/** Nothing is written before all of it was read: a backup that ends too early costs nothing. */
async function checkWhole(text: AsyncIterable<string>): Promise<void> {
  const { header, sections } = await readArchive(text);
  if (header.database) requireKnownSchema(header.database.migrations);
  for await (const { head } of sections) if ('file' in head) insideOf('/', head.file);
}

/** Files come first. @returns the sections after them */
async function writeFiles(folder: string, sections: AsyncGenerator<Section>): Promise<AsyncGenerator<Section>> {
  for (;;) {
    const next = await sections.next();
    if (next.done === true) return sections;
    const { head, lines } = next.value;
    if (!('file' in head)) return after(next.value, sections);
    const content: string[] = [];
    for await (const line of lines) content.push(line);
    await writeWhole(insideOf(folder, head.file), Buffer.from(content.join(''), 'base64'), head.mode);
  }
}

async function* after(first: Section, rest: AsyncGenerator<Section>): AsyncGenerator<Section> {
  yield first;
  yield* rest;
}

/** @throws BackupError backup.malformed for a name that leads out of the folder */
function insideOf(folder: string, name: string): string {
  const path = resolve(folder, name);
  if (
    name !== '' &&
    path.startsWith(folder.endsWith(sep) ? folder : folder + sep) &&
    !name.split('/').includes('..') &&
    !name.startsWith('/')
  )
    return path;
  throw new BackupError(
    'backup.malformed',
    'this is no backup that can be restored: a file in it lies outside of the installation',
  );
}

async function loadTables(
  folder: string,
  { migrations, accounts, records }: NonNullable<BackupHeader['database']>,
  sections: AsyncGenerator<Section>,
  { header, reason, report }: { header: BackupHeader; reason: string; report(line: string): void },
): Promise<number> {
  report(`writing ${accounts} accounts and ${records} records of the audit log`);
  return withEmbeddedPostgres(join(folder, 'database'), (url) =>
    restoreDatabase(url, { migrations, tables: tablesIn(sections) }, { backupAt: new Date(header.createdAt), reason }),
  );
}

async function* tablesIn(sections: AsyncGenerator<Section>): AsyncGenerator<TableRows> {
  for await (const { head, lines } of sections) {
    if (!('table' in head))
      throw new BackupError('backup.malformed', 'this is no backup that can be restored: a file stands after a table');
    yield { name: head.table, rows: lines };
  }
}
