import { readdir, readFile, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { encryptText } from '../installation/backup/encryption';
import { writeArchive } from '../installation/backup/archive';
import type { BackupHeader, Section } from '../installation/backup/archive';
import { withDump } from '../licensing/backup/dump';
import { FolderKeyStore } from '../installation/folder';
import { readPublishedTrust } from '../installation/trust';
import type { TableRows } from '../licensing/backup/tables';
import { BackupError } from '../licensing/backup/errors';
import { ifThere } from '../runtime/files/whole-file';
import { dateOf, systemClock } from '../runtime/clock';
import { LauncherError } from './errors';
import { lockInstallation } from './lock';
import { SOCKET_NAME, urlAt, withEmbeddedPostgres } from './postgres/embedded';

/** What belongs to one run, is written anew, or is the users' and too much: everything else is kept, whatever a later release puts there. */
const LEFT_OUT = /^(run|log|workspaces|database(\.lock|\.new)?|lock|up\.pid)$|\.new$/;
const BASE64_LINE = 76;

interface BackupOptions {
  recipients: readonly string[];
  report(line: string): void;
}

/**
 * Makes a backup of one machine's installation: its keys and files, and its database where that is the one in its folder. It may be running.
 * @param folder the installation's @param write takes the encrypted bytes, in their order
 * @throws BackupError; LauncherError; what `write` throws
 */
export async function backUp(
  folder: string,
  { recipients, report }: BackupOptions,
  write: (bytes: Uint8Array) => Promise<void>,
): Promise<BackupHeader> {
  const published = await readPublishedTrust(new FolderKeyStore(folder));
  if (published === undefined)
    throw new BackupError(
      'backup.malformed',
      `expected an installation in ${folder}, got none`,
      'name its folder with --dir',
    );
  const facts = {
    backup: 1 as const,
    createdAt: dateOf(systemClock).toISOString(),
    trustDomain: published.bundle.trustDomain,
  };
  return withDatabase(folder, async (url) => {
    const archive = async (header: BackupHeader, tables: AsyncIterable<Section>): Promise<BackupHeader> => {
      for await (const bytes of await encryptText(writeArchive(header, sections(folder, tables)), recipients))
        await write(bytes);
      return header;
    };
    if (url === undefined) return archive({ ...facts, database: null }, nothing());
    return withDump(url, ({ facts: database, tables }) => {
      report(`reading ${database.accounts} accounts and ${database.records} records of the audit log`);
      return archive({ ...facts, database }, tableSections(tables));
    });
  });
}

/** Opens the database in the folder, or connects to it where the installation runs. Undefined: its database is elsewhere. */
async function withDatabase<T>(folder: string, work: (url: string | undefined) => Promise<T>): Promise<T> {
  let lock: Awaited<ReturnType<typeof lockInstallation>>;
  try {
    lock = await lockInstallation(folder);
  } catch (error) {
    if (!(error instanceof LauncherError && error.code === 'launcher.in_use')) throw error;
    const sockets = join(folder, 'run', 'database');
    const isOurs = (await ifThere(stat(join(sockets, SOCKET_NAME)))) !== undefined;
    return work(isOurs ? urlAt(sockets) : undefined);
  }
  try {
    if ((await ifThere(stat(join(folder, 'database', 'PG_VERSION')))) === undefined) return await work(undefined);
    return await withEmbeddedPostgres(join(folder, 'database'), work);
  } finally {
    await lock.release();
  }
}

async function* sections(folder: string, tables: AsyncIterable<Section>): AsyncGenerator<Section> {
  yield* fileSections(folder, folder);
  yield* tables;
}

async function* tableSections(tables: AsyncIterable<TableRows>): AsyncGenerator<Section> {
  for await (const { name, rows } of tables) yield { head: { table: name }, lines: rows };
}

async function* nothing(): AsyncGenerator<Section> {
  // No table: the database is elsewhere.
}

async function* fileSections(root: string, folder: string): AsyncGenerator<Section> {
  const entries = await readdir(folder, { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (folder === root ? LEFT_OUT.test(entry.name) : entry.name.endsWith('.new')) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* fileSections(root, path);
    if (!entry.isFile()) continue;
    const content = (await readFile(path)).toString('base64');
    const { mode } = await stat(path);
    yield {
      head: { file: relative(root, path), mode: mode & 0o777 },
      lines: content.match(new RegExp(`.{1,${BASE64_LINE}}`, 'g')) ?? [],
    };
  }
}
