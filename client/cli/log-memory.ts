import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { fingerprint } from '../../attestation/trust/public-key';
import { leafHash } from '../../attestation/transparency/merkle';
import { readLoginRecord } from '../index';
import type { KnownHead, LogHead, LoginReceipt } from '../index';
import { CliError, EXIT } from './exit';
import { stateFolder } from './folders';
import { createWhole, namesIfThere, removeIfThere, writeWhole } from '../../runtime/files/whole-file';
import { systemClock } from '../../runtime/clock';
import { readText } from '../../runtime/text/utf8';

/** A login an hour of work: more than a year of them. The oldest make room. */
const MAX_LOGINS = 5_000;

const HEAD = /^head-\d{16}\.json$/;
const LOGIN = /^login-\d{15}-[0-9a-f]{16}\.json$/;

const headSchema = z.object({
  size: z.number().int().min(0),
  root: z.string().regex(/^[0-9a-f]{64}$/),
  at: z.iso.datetime(),
  /** As the service gave it. */
  signed: z.string(),
});
const loginSchema = z.object({ receivedAt: z.iso.datetime(), record: z.base64() });

/** A head that this machine was shown before. */
export interface RememberedHead extends KnownHead {
  at: Date;
  signed: string;
}

/**
 * What this machine remembers of the audit log of one installation: the last head that it was shown, and what the log has of its own logins. Installations
 * are told apart by their trust key. Every fact is a file of its own that is made once and never changed, so commands that run at the same time need no lock:
 * each makes its file, then looks at those of the others.
 */
export class LogMemory {
  private constructor(readonly folder: string) {}

  static async of({ trustKey }: Pick<TrustBundle, 'trustKey'>): Promise<LogMemory> {
    return new LogMemory(join(stateFolder(), 'log', (await fingerprint(trustKey)).replace('SHA256:', '')));
  }

  /** One; more where other commands are at it now. @throws CliError where a file is damaged */
  async heads(): Promise<RememberedHead[]> {
    return this.read(HEAD, (json) => {
      const { root, at, ...head } = headSchema.parse(json);
      return { ...head, root: Buffer.from(root, 'hex'), at: new Date(at) };
    });
  }

  /**
   * Remembers a head in the place of others.
   * @param extends_ heads that the log at this head was shown to begin with
   * @returns heads that are there beside it: other commands have been shown them meanwhile
   */
  async remember({ size, root, at, signed }: LogHead, extends_: readonly KnownHead[]): Promise<RememberedHead[]> {
    const isSame = (other: KnownHead): boolean => other.size === size && other.root.equals(root);
    await createWhole(
      this.headFile(size),
      JSON.stringify({ size, root: root.toString('hex'), at: at.toISOString(), signed }),
    );
    for (const { size: smaller } of extends_) if (smaller < size) await removeIfThere(this.headFile(smaller));
    return (await this.heads()).filter(
      (other) =>
        !isSame(other) && !extends_.some((known) => known.size === other.size && known.root.equals(other.root)),
    );
  }

  /** Keeps two heads that contradict each other: each is signed, and together they convince anyone. @returns the file */
  async keepContradiction(before: readonly RememberedHead[], signed: string): Promise<string> {
    const file = join(this.folder, `contradiction-${systemClock.now()}.json`);
    await writeWhole(file, `${JSON.stringify({ before: before.map((head) => head.signed), now: signed }, null, 2)}\n`);
    return file;
  }

  async keepLogin({ record, receivedAt }: LoginReceipt): Promise<void> {
    const name = `login-${String(receivedAt.getTime()).padStart(15, '0')}-${leafHash(record).toString('hex').slice(0, 16)}.json`;
    await createWhole(
      join(this.folder, name),
      JSON.stringify({ receivedAt: receivedAt.toISOString(), record: record.toString('base64') }),
    );
    const names = await this.names(LOGIN);
    for (const oldest of names.slice(0, Math.max(0, names.length - MAX_LOGINS)))
      await removeIfThere(join(this.folder, oldest));
  }

  /** The oldest first. @throws CliError where a file is damaged */
  async logins(): Promise<LoginReceipt[]> {
    return this.read(LOGIN, (json) => {
      const { receivedAt, record } = loginSchema.parse(json);
      const receipt = { receivedAt: new Date(receivedAt), record: Buffer.from(record, 'base64') };
      readLoginRecord(receipt.record);
      return receipt;
    });
  }

  /** Forgets the logins of a user. */
  async forgetLogins(user: string): Promise<void> {
    for (const name of await this.names(LOGIN)) {
      const file = join(this.folder, name);
      const text = await readText(file).catch(() => '');
      if (userOf(text) === user) await removeIfThere(file);
    }
  }

  /** Forgets all of it. @returns false where there was nothing */
  async forget(): Promise<boolean> {
    const any = (await this.names(/./)).length > 0;
    await rm(this.folder, { recursive: true, force: true });
    return any;
  }

  private headFile(size: number): string {
    return join(this.folder, `head-${String(size).padStart(16, '0')}.json`);
  }

  private async names(pattern: RegExp): Promise<string[]> {
    return (await namesIfThere(this.folder)).filter((name) => pattern.test(name)).sort();
  }

  private async read<T>(pattern: RegExp, parse: (json: unknown) => T): Promise<T[]> {
    const found: T[] = [];
    for (const name of await this.names(pattern)) {
      const file = join(this.folder, name);
      try {
        found.push(parse(JSON.parse(await readText(file))));
      } catch (cause) {
        // Another command had a newer one.
        if ((cause as NodeJS.ErrnoException).code === 'ENOENT') continue;
        throw new CliError(
          EXIT.failure,
          `what this machine remembers of the audit log can't be read: ${file}`,
          {
            code: 'log.memory_damaged',
            hint: 'if you know what happened to it, remove the file, or all of it with sls audit forget; what it held is then no longer checked',
          },
          { cause },
        );
      }
    }
    return found;
  }
}

function userOf(text: string): string | undefined {
  try {
    return readLoginRecord(Buffer.from(loginSchema.parse(JSON.parse(text)).record, 'base64')).user;
  } catch {
    return undefined;
  }
}
