import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { parseTrustBundle, TrustBundleError } from '../../../attestation/trust/bundle';
import type { TrustBundle } from '../../../attestation/trust/bundle';
import { fingerprint, isSameKey } from '../../../attestation/trust/public-key';
import { readSignedBundle, TrustError } from '../../../attestation/trust/signed-bundle';
import { CliError, EXIT } from '../exit';
import { addExample, addOutputOptions, addTrustOptions } from '../options';
import type { CommonOptions } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { removeIfThere } from '../../../runtime/files/whole-file';
import { confirm } from '../prompt';
import { describeTrust } from '../trust-report';
import { fetchTrustBundle } from '../trust-fetch';
import { loadTrust, pinnedTrust, pinTrust, trustFile } from '../trust';

/** `sls trust …`: whom this client believes. */
export function addTrust(program: Command): void {
  const trust = program.command('trust').description('whom this client believes');

  const add = trust
    .command('add')
    .description(
      'believe an installation: its trust key is pinned, and newer bundles signed by it are taken from then on',
    )
    .argument(
      '<bundle>',
      'a trust bundle of your operator, or the address of the login service, such as https://login.example.com',
    )
    .option(
      '--fingerprint <fingerprint>',
      'of the trust key, from your operator by another way; asked for when left out',
    );
  addOutputOptions(add).action(runAdd);
  addExample(add, 'sls trust add sls-trust.jws', 'sls trust add https://login.example.com --fingerprint SHA256:…');

  const show = trust.command('show').description('what is believed now');
  addTrustOptions(addOutputOptions(show)).action(async (options: CommonOptions) => {
    const bundle = await loadTrust(options);
    const { json, lines } = await describeTrust(bundle);
    new Output(options).result(json, lines);
  });
  addExample(show, 'sls trust show');

  const remove = trust.command('remove').description('believe the installation no longer');
  addOutputOptions(remove).action(async (options: OutputOptions) => {
    const removed = await removeIfThere(trustFile());
    new Output(options).done(removed ? 'the trust bundle is removed' : 'there was no trust bundle');
  });
  addExample(remove, 'sls trust remove');
}

async function runAdd(source: string, options: OutputOptions & { fingerprint?: string }): Promise<void> {
  const out = new Output(options);
  const bundle = await readBundle(source);
  const shown = await fingerprint(bundle.trustKey);
  const pinned = await pinnedTrust();
  if (pinned && !isSameKey(pinned.trustKey, bundle.trustKey)) await refuseChanged(pinned, shown);
  if (pinned && bundle.sequence < pinned.sequence) {
    throw new CliError(
      EXIT.attestation,
      `the trust bundle is older than the one at hand: expected sequence ${pinned.sequence} or later, got ${bundle.sequence}`,
      { code: 'trust.older' },
    );
  }
  // A key that is pinned already speaks for itself.
  if (!pinned) await confirmFirst(bundle, shown, options.fingerprint, out);
  else if (options.fingerprint !== undefined) requireSame(shown, options.fingerprint);
  await pinTrust(bundle);
  out.done(`${bundle.trustDomain} is trusted, by trust key ${shown}`);
  out.result({ ...(await describeTrust(bundle)).json, file: trustFile() }, []);
}

async function confirmFirst(
  bundle: TrustBundle,
  shown: string,
  expected: string | undefined,
  out: Output,
): Promise<void> {
  if (expected !== undefined) return requireSame(shown, expected);
  out.note(`first use of ${bundle.trustDomain}; its trust key has the fingerprint`);
  out.note(`    ${shown}`);
  if (!(await confirm('Is that what your operator told you, by another way than this bundle came? Type yes: '))) {
    throw new CliError(EXIT.attestation, 'the fingerprint was not confirmed: nothing is trusted', {
      code: 'trust.not_confirmed',
    });
  }
}

function requireSame(shown: string, expected: string): void {
  if (shown === expected.trim()) return;
  throw new CliError(EXIT.attestation, `the trust key is another one: expected ${expected.trim()}, got ${shown}`, {
    code: 'trust.fingerprint',
    hint: 'nothing is trusted; whoever gave you the bundle may not be your operator',
  });
}

async function refuseChanged(pinned: TrustBundle, shown: string): Promise<never> {
  throw new CliError(
    EXIT.attestation,
    `THE TRUST KEY HAS CHANGED: expected ${await fingerprint(pinned.trustKey)}, got ${shown}`,
    {
      code: 'trust.key_changed',
      hint: 'someone may be passing as your operator. Only if they told you of a new key by another way: sls trust remove, then add it again',
    },
  );
}

async function readBundle(source: string): Promise<TrustBundle> {
  if (/^https?:\/\//.test(source)) return fetchTrustBundle(source);
  const text = (
    await readFile(source, 'utf8').catch((error: NodeJS.ErrnoException) => {
      throw new CliError(EXIT.usage, `can't read the trust bundle ${source}: ${error.code ?? error.message}`);
    })
  ).trim();
  try {
    return text.startsWith('{') ? parseTrustBundle(text) : await readSignedBundle(text);
  } catch (error) {
    if (error instanceof TrustBundleError)
      throw new CliError(EXIT.usage, `${source} is not a trust bundle: ${error.message}`, { code: error.code });
    if (error instanceof TrustError)
      throw new CliError(EXIT.attestation, `${source}: ${error.message}`, { code: error.code });
    throw error;
  }
}
