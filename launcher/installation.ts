import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { chmod, mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { createAuthority } from '../licensing/authority/authority';
import { FolderKeyStore } from '../installation/folder';
import { requireNoKeyLost } from '../installation/lost-keys';
import { createTrustKeys } from '../installation/trust';
import { generateSecondFactorKeys } from '../licensing/second-factor/keys';
import { generateTokenKeys } from '../licensing/tokens/keys';
import { LauncherError } from './errors';
import { SOCKET_NAME } from './postgres/embedded';
import { ifThere, readIfThere, writeWhole } from '../runtime/files/whole-file';

/** sockaddr_un.sun_path of Linux, less the longest name that a socket gets under run/. */
const MAX_FOLDER_LENGTH = 107 - `/run/database/${SOCKET_NAME}`.length;
const AUTHORITY_YEARS = 10;
const AUTHORITIES = { 'attestation-ca': 'Attestation CA', 'client-ca': 'Client CA', 'server-ca': 'Server CA' };
const RECORD = 'installation.json';
/** What a first start that was killed may have left, and the firmware's log for a software TPM, which is put there before. */
const BEFORE_RECORD = /^(lock|up\.pid|installation\.json(\.[0-9a-f]+)?\.new|event-log)$/;

const recordSchema = z.object({
  /** Marks the processes of its enclaves. */
  id: z.uuid(),
  node: z.string(),
  trustDomain: z.string(),
  /** Kept, so that clients find the services again. */
  ports: z.object({ signup: z.number().int().optional(), login: z.number().int().optional() }),
});

/** What is remembered between runs besides keys and data. */
type InstallationRecord = z.infer<typeof recordSchema>;

/** One machine's installation: a folder, 0700, with everything that it needs. */
export interface Installation {
  folder: string;
  record: InstallationRecord;
  path(...names: string[]): string;
  saveRecord(): Promise<void>;
}

/**
 * Makes an installation's folder where it isn't there.
 * @returns its absolute path
 * @throws LauncherError launcher.path_too_long, launcher.folder
 */
export async function prepareFolder(folder: string): Promise<string> {
  const root = resolve(folder);
  if (Buffer.byteLength(root) > MAX_FOLDER_LENGTH) {
    throw new LauncherError(
      'launcher.path_too_long',
      `expected an installation folder of ${MAX_FOLDER_LENGTH} bytes at most (unix sockets live in it), got ${Buffer.byteLength(root)}: ${root}`,
      'choose a shorter one with --dir',
    );
  }
  await mkdir(root, { recursive: true, mode: 0o700 });
  await requireOwnFolder(root);
  await chmod(root, 0o700);
  return root;
}

/** Opens the installation in a folder that is locked. Keys are `createKeys`'s. */
export async function openInstallation(root: string): Promise<Installation> {
  const file = join(root, RECORD);
  const text = await readIfThere(file);
  const record: InstallationRecord =
    text === undefined
      ? { id: randomUUID(), node: 'localhost', trustDomain: 'sls.local', ports: {} }
      : recordSchema.parse(JSON.parse(text));
  const installation: Installation = {
    folder: root,
    record,
    path: (...names) => join(root, ...names),
    saveRecord: () => writeWhole(file, `${JSON.stringify(record, null, 2)}\n`),
  };
  if (text === undefined) await installation.saveRecord();
  return installation;
}

/**
 * What a folder holds is its owner's to replace, whatever modes the files have; and one with other things in it, /tmp or a home, is not to become 0700.
 * @throws LauncherError launcher.folder
 */
async function requireOwnFolder(folder: string): Promise<void> {
  const refuse = (got: string): LauncherError =>
    new LauncherError(
      'launcher.folder',
      `expected a new folder for the installation, or one that holds yours, got ${got}: ${folder}`,
      'choose another one with --dir',
    );
  if ((await stat(folder)).uid !== process.geteuid?.()) throw refuse("somebody else's");
  const names = await readdir(folder);
  if (!names.includes(RECORD) && names.some((name) => !BEFORE_RECORD.test(name)))
    throw refuse('one with other files in it');
}

/**
 * Makes the keys that aren't there: authorities, the keys that sign tokens and workload credentials, the key of second factors, the sealing key. Each file is 0600 in a 0700 folder.
 * @throws KeyStoreError keystore.key_lost where one is gone that signed what is still there
 */
export async function createKeys(installation: Installation): Promise<void> {
  const { path } = installation;
  await requireNoKeyLost(new FolderKeyStore(installation.folder));
  await mkdir(path('keys'), { recursive: true, mode: 0o700 });
  for (const name of ['attestation-ca', 'client-ca', 'server-ca'] as const) {
    // The certificate is written last: where it is, the key is too.
    if ((await readIfThere(path('keys', `${name}.crt`))) !== undefined) continue;
    const authority = await createAuthority({
      commonName: AUTHORITIES[name],
      trustDomain: installation.record.trustDomain,
      years: AUTHORITY_YEARS,
    });
    await writeWhole(path('keys', `${name}.key`), authority.privateKey);
    await writeWhole(path('keys', `${name}.crt`), authority.certificate);
  }
  await writeOnce(path('keys', 'token-keys.json'), generateTokenKeys);
  await writeOnce(path('keys', 'second-factor-keys.json'), () => Promise.resolve(generateSecondFactorKeys()));
  await writeOnce(path('keys', 'seal.key'), () => Promise.resolve(randomBytes(32)));
  if ((await readIfThere(path('keys', 'launcher.pub.json'))) === undefined) {
    const { privateKey, publicKey } = signingKey();
    await writeWhole(path('keys', 'launcher.json'), JSON.stringify(privateKey));
    await writeWhole(path('keys', 'launcher.pub.json'), JSON.stringify(publicKey));
  }
}

/** Makes the keys behind the trust bundle and the admin CA. */
export async function createAdministration({ folder, record }: Installation): Promise<void> {
  await createTrustKeys(new FolderKeyStore(folder), { trustDomain: record.trustDomain });
}

/** Empties what belongs to one run: sockets, ready files, credentials. */
export async function resetRunFolder({ path }: Installation): Promise<void> {
  await rm(path('run'), { recursive: true, force: true });
  for (const name of ['run', 'run/attestor', 'run/database', 'run/enclaves'])
    await mkdir(path(name), { recursive: true, mode: 0o700 });
}

function signingKey(): { privateKey: Record<string, unknown>; publicKey: Record<string, unknown> } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const names = { kid: randomUUID(), alg: 'ES256', use: 'sig' };
  return {
    privateKey: { ...privateKey.export({ format: 'jwk' }), ...names },
    publicKey: { ...publicKey.export({ format: 'jwk' }), ...names },
  };
}

async function writeOnce(path: string, make: () => Promise<string | Buffer>): Promise<void> {
  // Not read: the sealing key is no text.
  if ((await ifThere(stat(path))) === undefined) await writeWhole(path, await make());
}
