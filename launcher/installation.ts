import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { chmod, mkdir, readFile, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { createAuthority } from '../core/certificates/authority';
import { issueServerCertificate } from '../core/certificates/server';
import { generateTokenKeys } from '../core/tokens/keys';
import { LauncherError } from './errors';
import { readIfThere, writeWhole } from './files';

/** sockaddr_un.sun_path of Linux, less the longest name that a socket gets under run/. */
const LONGEST_FOLDER = 107 - '/run/database/.s.PGSQL.5432'.length;
const AUTHORITY_YEARS = 10;
const AUTHORITIES = { 'attestation-ca': 'Attestation CA', 'client-ca': 'Client CA', 'server-ca': 'Server CA' };
const SERVER_DAYS = 90;

const recordSchema = z.object({
  /** Names the lock. */
  id: z.uuid(),
  node: z.string(),
  trustDomain: z.string(),
  /** Kept, so that clients find the services again. */
  ports: z.object({ signup: z.number().int().optional(), login: z.number().int().optional() }),
});

/** What is remembered between runs besides keys and data. */
export type InstallationRecord = z.infer<typeof recordSchema>;

/** One machine's installation: a folder, 0700, with everything that it needs. */
export interface Installation {
  folder: string;
  record: InstallationRecord;
  path(...names: string[]): string;
  saveRecord(): Promise<void>;
}

/**
 * Opens the installation, or makes its folder. Keys are `createKeys`'s: they wait for the lock.
 * @throws LauncherError launcher.path_too_long
 */
export async function openInstallation(folder: string): Promise<Installation> {
  const root = resolve(folder);
  if (Buffer.byteLength(root) > LONGEST_FOLDER) {
    throw new LauncherError(
      'launcher.path_too_long',
      `expected an installation folder of ${LONGEST_FOLDER} bytes at most (unix sockets live in it), got ${Buffer.byteLength(root)}: ${root}`,
      'choose a shorter one with --dir',
    );
  }
  await mkdir(root, { recursive: true, mode: 0o700 });
  await chmod(root, 0o700);
  const file = join(root, 'installation.json');
  const text = await readIfThere(file);
  const record: InstallationRecord =
    text === undefined ? { id: randomUUID(), node: 'localhost', trustDomain: 'sls.local', ports: {} } : recordSchema.parse(JSON.parse(text));
  const installation: Installation = {
    folder: root,
    record,
    path: (...names) => join(root, ...names),
    saveRecord: () => writeWhole(file, `${JSON.stringify(record, null, 2)}\n`),
  };
  if (text === undefined) await installation.saveRecord();
  return installation;
}

/** Makes the keys that aren't there: authorities, the keys that sign tokens, trust bundles,
 * revocation lists and workload credentials, the sealing key. Each file is 0600 in a 0700 folder. */
export async function createKeys(installation: Installation): Promise<void> {
  const { path } = installation;
  await mkdir(path('keys'), { recursive: true, mode: 0o700 });
  for (const name of ['attestation-ca', 'client-ca', 'server-ca'] as const) {
    // The certificate is written last: where it is, the key is too.
    if ((await readIfThere(path('keys', `${name}.crt`))) !== undefined) continue;
    const authority = await createAuthority({ commonName: AUTHORITIES[name], trustDomain: installation.record.trustDomain, years: AUTHORITY_YEARS });
    await writeWhole(path('keys', `${name}.key`), authority.privateKey);
    await writeWhole(path('keys', `${name}.crt`), authority.certificate);
  }
  await writeOnce(path('keys', 'token-keys.json'), generateTokenKeys);
  for (const name of ['trust-key', 'revocation-key']) await writeOnce(path('keys', `${name}.json`), async () => JSON.stringify(signingKey().privateKey));
  await writeOnce(path('keys', 'seal.key'), () => Promise.resolve(randomBytes(32)));
  if ((await readIfThere(path('keys', 'launcher.pub.json'))) === undefined) {
    const { privateKey, publicKey } = signingKey();
    await writeWhole(path('keys', 'launcher.json'), JSON.stringify(privateKey));
    await writeWhole(path('keys', 'launcher.pub.json'), JSON.stringify(publicKey));
  }
}

/** A new certificate for the services' TLS at every start: nothing pins it but its authority. */
export async function createServerCertificate({ path }: Installation): Promise<void> {
  const authority = {
    certificate: await readFile(path('keys', 'server-ca.crt'), 'utf8'),
    privateKey: await readFile(path('keys', 'server-ca.key'), 'utf8'),
  };
  const server = await issueServerCertificate(authority, { hosts: ['localhost', '127.0.0.1'], days: SERVER_DAYS });
  await writeWhole(path('keys', 'server.key'), server.privateKey);
  await writeWhole(path('keys', 'server.crt'), server.certificate);
}

/** Empties what belongs to one run: sockets, ready files, credentials. */
export async function resetRunFolder({ path }: Installation): Promise<void> {
  await rm(path('run'), { recursive: true, force: true });
  for (const name of ['run', 'run/database', 'run/enclaves']) await mkdir(path(name), { recursive: true, mode: 0o700 });
}

function signingKey(): { privateKey: Record<string, unknown>; publicKey: Record<string, unknown> } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const names = { kid: randomUUID(), alg: 'ES256', use: 'sig' };
  return { privateKey: { ...privateKey.export({ format: 'jwk' }), ...names }, publicKey: { ...publicKey.export({ format: 'jwk' }), ...names } };
}

async function writeOnce(path: string, make: () => Promise<string | Buffer>): Promise<void> {
  if ((await readIfThere(path)) === undefined) await writeWhole(path, await make());
}
