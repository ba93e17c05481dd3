import { randomBytes } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceDurably } from '../../runtime/files/whole-file';
import { hasAttribute, parsePublic, publicKeyObject } from '../../attestation/tpm/public';
import type { TpmPublic } from '../../attestation/tpm/public';
import { QUOTED_PCRS } from '../../attestation/tpm/pcr';
import { TpmCommandError } from './errors';
import { asHierarchy } from './explain';
import { KEY_CREATION_MS } from './tools';
import type { TpmTools } from './tools';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';

/**
 * A restricted signing key never signs a TPMS_ATTEST that the TPM didn't make. noDA: wrong authorizations, which anybody with access to the TPM can
 * send, must not lock it; 256 random bits need no such protection.
 */
const ATTRIBUTES = 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign|noda';
/** noDA here too: a TPM that is locked because of somebody's wrong passwords still makes and loads attestation keys. */
const STORAGE_ATTRIBUTES = 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|decrypt|noda';
/** TPM_RC_HANDLE for the first handle: nothing is there (Part 2, 6.6.3). */
const NO_SUCH_HANDLE = 0x18b;

/** The attestation key in the TPM and how it is used: by its persistent handle, with the authorization value in a file. */
export interface AttestationKey {
  handle: string;
  /** TPMT_PUBLIC. */
  public: TpmPublic;
  /** Holds its authorization value, as tpm2-tools take it: "hex:", then the value. The value itself is never an argument of a process, which others see. */
  authFile: string;
}

interface AttestationKeyOptions {
  /** Persistent handle, such as 0x81010010. */
  handle: string;
  /** Holds `ak-auth` (0600) and `ak-public`. */
  stateDir: string;
  /** Silent, unless told. */
  log?: Logger;
}

/**
 * The node's attestation key: the one of an earlier start when the TPM still has it, else a new one. It is an ordinary child of the owner's storage
 * key, whose private part comes from the TPM's random numbers: a primary key could be made again from its template by anyone who reaches the TPM,
 * with an authorization of their own.
 * @throws TpmCommandError
 */
export function ensureAttestationKey(tools: TpmTools, options: AttestationKeyOptions): Promise<AttestationKey> {
  return tools.exclusive(async () => {
    const { handle, stateDir } = options;
    await requireBank(tools);
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    const there = await readPersistent(tools, handle);
    const known = await readFile(join(stateDir, 'ak-public')).catch(() => undefined);
    const auth = await readFile(join(stateDir, 'ak-auth')).catch(() => undefined);
    if (there !== undefined && known !== undefined && auth !== undefined && there.bytes.equals(known)) {
      return { handle, public: there, authFile: join(stateDir, 'ak-auth') };
    }
    if (there !== undefined) await evict(tools, handle, there, options.log ?? silent);
    return create(tools, options);
  });
}

async function readPersistent(tools: TpmTools, handle: string): Promise<TpmPublic | undefined> {
  try {
    await tools.run('tpm2_readpublic', ['-Q', '-c', handle, '-f', 'tpmt', '-o', 'persistent.public']);
  } catch (error) {
    if (error instanceof TpmCommandError && error.responseCode === NO_SUCH_HANDLE) return undefined;
    throw error;
  }
  return parsePublic(await tools.read('persistent.public'));
}

/** Makes room where an attestation key as made here stands, whose authorization is lost. Anything else was put there by somebody for a purpose. */
async function evict(tools: TpmTools, handle: string, key: TpmPublic, log: Logger): Promise<void> {
  const attributes = [
    'fixedTPM',
    'fixedParent',
    'sensitiveDataOrigin',
    'userWithAuth',
    'restricted',
    'sign',
    'noDA',
  ] as const;
  if (key.type !== 'ecc' || attributes.some((name) => !hasAttribute(key, name)) || hasAttribute(key, 'decrypt')) {
    throw new TpmCommandError(
      'tpm.handle_in_use',
      `expected nothing at ${handle}, got a key of another program: set AK_HANDLE to a free handle, such as 0x81010020`,
    );
  }
  log.warn({ handle }, 'replacing an attestation key whose authorization is not known here');
  await evictControl(tools, ['-c', handle]);
}

function evictControl(tools: TpmTools, args: string[]): Promise<string> {
  const { owner } = tools.auth;
  const auth = owner === undefined ? [] : ['-P', owner];
  return asHierarchy('owner', tools.auth, () => tools.run('tpm2_evictcontrol', ['-Q', '-C', 'o', ...auth, ...args]));
}

/** Without it there is no quote: a TPM may be set up with SHA-384 alone. */
async function requireBank(tools: TpmTools): Promise<void> {
  const banks = new Map<string, number[]>();
  for (const [, name, list] of (await tools.run('tpm2_getcap', ['pcrs'])).matchAll(/^ *- *(\w+): *\[([\d, ]*)\]/gm))
    banks.set(
      name ?? '',
      (list ?? '')
        .split(',')
        .filter((part) => part.trim() !== '')
        .map(Number),
    );
  const sha256 = banks.get('sha256') ?? [];
  if (QUOTED_PCRS.every((index) => sha256.includes(index))) return;
  const active = [...banks].filter(([, pcrs]) => pcrs.length > 0).map(([name]) => name);
  throw new TpmCommandError(
    'tpm.no_sha256_bank',
    `expected an active SHA-256 bank of PCRs, got ${active.join(', ') || 'none'}: turn it on in the firmware's settings, or by tpm2_pcrallocate sha256:all and a restart`,
  );
}

async function create(
  tools: TpmTools,
  { handle, stateDir, log = silent }: AttestationKeyOptions,
): Promise<AttestationKey> {
  const auth = join(stateDir, 'ak-auth');
  await replaceDurably(auth, `hex:${randomBytes(32).toString('hex')}`);
  await tools.flush();
  const { owner } = tools.auth;
  const storage = ['-g', 'sha256', '-G', 'ecc', '-a', STORAGE_ATTRIBUTES, '-c', 'storage.ctx'];
  const primary = ['-Q', '-C', 'o', ...(owner === undefined ? [] : ['-P', owner]), ...storage];
  await asHierarchy('owner', tools.auth, () => tools.run('tpm2_createprimary', primary, KEY_CREATION_MS));
  await tools.flush();
  const files = ['-u', 'ak.public', '-r', 'ak.private'];
  const kind = ['-G', 'ecc256:ecdsa-sha256:null', '-g', 'sha256', '-a', ATTRIBUTES];
  await tools.run('tpm2_create', ['-Q', '-C', 'storage.ctx', ...kind, '-p', `file:${auth}`, ...files], KEY_CREATION_MS);
  await tools.flush();
  await tools.run('tpm2_load', ['-Q', '-C', 'storage.ctx', ...files, '-c', 'ak.ctx']);
  await tools.flush();
  // ak.public is a TPM2B: its size, then the TPMT_PUBLIC.
  const area = parsePublic((await tools.read('ak.public')).subarray(2));
  publicKeyObject(area);
  // Before the key becomes persistent: a crash between leaves no key that isn't known here.
  await replaceDurably(join(stateDir, 'ak-public'), area.bytes);
  await evictControl(tools, ['-c', 'ak.ctx', handle]);
  await tools.flush();
  log.info({ handle }, 'made an attestation key');
  return { handle, public: area, authFile: auth };
}
