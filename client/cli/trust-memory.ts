import { join } from 'node:path';
import { z } from 'zod';
import { sha256 } from '../../attestation/crypto';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { fingerprint, isSameKey } from '../../attestation/trust/public-key';
import type { PublicKey } from '../../attestation/trust/public-key';
import { checkNotOlder, readSignedBundle, TrustError } from '../../attestation/trust/signed-bundle';
import type { SignedTrust } from '../../attestation/trust/signed-bundle';
import { CliError, EXIT } from './exit';
import { stateFolder } from './folders';
import { isUnwritable, keepIfWritable, readState } from './state';
import { createWhole, namesIfThere, removeIfThere, writeWhole } from '../../runtime/files/whole-file';
import { NotUtf8, readText } from '../../runtime/text/utf8';

const BUNDLE = /^bundle-\d{16}\.jws$/;
const userSchema = z.object({ username: z.string(), user: z.string() });

/**
 * What this machine remembers of one installation, by its trust key: the newest bundle that the key signed, that a person compared its fingerprint,
 * and who was behind each username at the last login. It stays when the installation is trusted no longer, but for the comparison: an old bundle
 * must not come back by `sls trust remove` and `sls trust add`. Bundles are files that are made once, so that commands that run at the same time need no lock.
 */
export class TrustMemory {
  private constructor(
    private readonly folder: string,
    private readonly trustKey: PublicKey,
  ) {}

  static async of({ trustKey }: Pick<TrustBundle, 'trustKey'>): Promise<TrustMemory> {
    const name = (await fingerprint(trustKey)).replace('SHA256:', '');
    return new TrustMemory(join(stateFolder(), 'trust', name), trustKey);
  }

  /**
   * Remembers a bundle of this trust key where it is the newest.
   * @returns the newest of all that this machine has seen
   * @throws TrustError trust.conflict: two that differ have one sequence
   */
  async remember(offered: SignedTrust): Promise<SignedTrust> {
    const known = await this.newest(offered.bundle.sequence);
    if (known !== undefined && known.bundle.sequence > offered.bundle.sequence) return known;
    if (known !== undefined) checkNotOlder(known, offered);
    if (known?.bundle.sequence === offered.bundle.sequence) return offered;
    try {
      await createWhole(this.bundleFile(offered.bundle.sequence), offered.signed);
    } catch (error) {
      if (!isUnwritable(error)) throw error;
      return offered;
    }
    // Another command may have made its own meanwhile.
    const newest = (await this.newest(offered.bundle.sequence)) ?? offered;
    if (newest.bundle.sequence === offered.bundle.sequence) checkNotOlder(newest, offered);
    for (const name of await this.names(BUNDLE))
      if (join(this.folder, name) < this.bundleFile(newest.bundle.sequence))
        await removeIfThere(join(this.folder, name));
    return newest;
  }

  /** A person has compared the fingerprint of the trust key, and not taken that back. */
  async isCompared(): Promise<boolean> {
    return (await this.names(/^compared$/)).length > 0;
  }

  async rememberComparison(): Promise<void> {
    await createWhole(join(this.folder, 'compared'), '').catch((error: unknown) => {
      // Whoever keeps nothing compares it each time.
      if (!isUnwritable(error)) throw error;
    });
  }

  async forgetComparison(): Promise<void> {
    await removeIfThere(join(this.folder, 'compared'));
  }

  /** The id that was behind the username at the last login. @throws CliError where what says so is damaged: the next login replaces it */
  async userBehind(username: string): Promise<string | undefined> {
    const place = {
      file: this.userFile(username),
      what: `who ${username} was at the last login`,
      heal: 'run: sls login',
    };
    return (await readState(place, (text) => userSchema.parse(JSON.parse(text))))?.user;
  }

  async rememberUser(username: string, user: string): Promise<void> {
    await writeWhole(this.userFile(username), JSON.stringify({ username, user }));
  }

  /** @returns false where nothing was known */
  async forgetUser(username: string): Promise<boolean> {
    return removeIfThere(this.userFile(username));
  }

  /**
   * @param offered sequence of a bundle that is at hand: one that is damaged and no newer than that is forgotten, as nothing older could come in its place
   */
  private async newest(offered: number): Promise<SignedTrust | undefined> {
    for (const name of (await this.names(BUNDLE)).reverse()) {
      const file = join(this.folder, name);
      try {
        const signed = (await readText(file)).trim();
        const bundle = await readSignedBundle(signed);
        if (!isSameKey(bundle.trustKey, this.trustKey) || this.bundleFile(bundle.sequence) !== file)
          throw new TypeError('expected the bundle that the name of the file says');
        return { bundle, signed };
      } catch (cause) {
        // Another command had a newer one, and there is none between.
        if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return this.newest(offered);
        if (!(cause instanceof TrustError || cause instanceof TypeError || cause instanceof NotUtf8)) throw cause;
        if (file > this.bundleFile(offered)) {
          // A newer sls took it, and it counts here too.
          throw cause instanceof TrustError && cause.code === 'trust.newer_release' ? cause : damaged(file, cause);
        }
        // In its place `remember` makes the one that is offered.
        await keepIfWritable(() => removeIfThere(file));
      }
    }
    return undefined;
  }

  private bundleFile(sequence: number): string {
    return join(this.folder, `bundle-${String(sequence).padStart(16, '0')}.jws`);
  }

  private userFile(username: string): string {
    return join(this.folder, `user-${sha256(Buffer.from(username, 'utf8')).toString('hex')}.json`);
  }

  private async names(pattern: RegExp): Promise<string[]> {
    return (await namesIfThere(this.folder)).filter((name) => pattern.test(name)).sort();
  }
}

function damaged(file: string, cause: unknown): CliError {
  return new CliError(
    EXIT.failure,
    `what this machine remembers of an installation can't be read: ${file}`,
    {
      code: 'trust.memory_damaged',
      hint: 'it held the newest trust bundle: get that from your operator, or, if you know what happened to it, remove the file',
    },
    { cause },
  );
}
