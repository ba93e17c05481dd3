import { join } from 'node:path';
import { readIfThere, writeWhole } from '../runtime/files/whole-file';
import type { KeyName, KeyStore } from './store';

/** Programs look at their files about every second. */
const SETTLE_SECONDS = 5;

/** No secret is in these: they lie in the folder itself, for everyone. */
const PUBLIC: readonly KeyName[] = ['trust-bundle.json', 'trust-bundle.jws'];

/** The key store of one machine's installation: FOLDER/keys, files 0600. */
export class FolderKeyStore implements KeyStore {
  readonly settleSeconds = SETTLE_SECONDS;

  constructor(private readonly folder: string) {}

  private path(name: KeyName): string {
    return PUBLIC.includes(name) ? join(this.folder, name) : join(this.folder, 'keys', name);
  }

  placeOf(name: KeyName): string {
    return this.path(name);
  }

  read(name: KeyName): Promise<string | undefined> {
    return readIfThere(this.path(name));
  }

  async write(files: ReadonlyArray<readonly [KeyName, string]>): Promise<void> {
    for (const [name, content] of files) {
      const path = this.path(name);
      const mode = PUBLIC.includes(name) ? 0o644 : 0o600;
      await writeWhole(path, content, mode);
    }
  }
}
