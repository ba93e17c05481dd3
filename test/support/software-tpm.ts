import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { createSwtpmState } from '../../launcher/swtpm';
import { madeOnce } from './run-folder';

const run = promisify(execFile);

/** How many TPMs a test file has of each maker, whom the folder of their CA names. */
const made = new Map<string, number>();

async function copy(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true, mode: 0o700 });
  await run('cp', ['-a', '--no-target-directory', from, to]);
}

/** The nth TPM of a maker's, with the maker's CA as it was when the TPM left it. */
function manufactured(maker: number, nth: number): Promise<string> {
  return madeOnce(`tpm-${maker}-${nth}`, async (folder) => {
    const caFolder = join(folder, 'ca');
    if (nth > 0) await copy(join(await manufactured(maker, nth - 1), 'ca'), caFolder);
    await createSwtpmState(join(folder, 'state'), { caFolder });
  });
}

/**
 * Puts there what `createSwtpmState` makes. It takes seconds, so the first test file that needs a TPM makes it, and others copy it; the TPMs of one test
 * file differ, and so do their makers where their folders do.
 * @returns the maker's certificates
 */
export async function copySwtpmState(stateFolder: string, { caFolder }: { caFolder: string }): Promise<string[]> {
  const nth = made.get(caFolder) ?? 0;
  made.set(caFolder, nth + 1);
  const template = await manufactured([...made.keys()].indexOf(caFolder), nth);
  await copy(join(template, 'state'), stateFolder);
  await copy(join(template, 'ca'), caFolder);
  return createSwtpmState(stateFolder, { caFolder });
}
