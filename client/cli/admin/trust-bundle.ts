import type { Command } from 'commander';
import { readRequiredKey } from '../../../installation/store';
import type { KeyStore } from '../../../installation/store';
import { publishTrustBundle, signTrustBundleOffline } from '../../../installation/trust';
import { parseTrustBundle, TrustBundleError } from '../../../attestation/trust/bundle';
import type { TrustBundle } from '../../../attestation/trust/bundle';
import { fingerprint } from '../../../attestation/trust/public-key';
import { CliError, EXIT } from '../exit';
import { addExample, addOutputOptions } from '../options';
import { Output } from '../output';
import { openOutputFile } from '../output-file';
import type { OutputOptions } from '../output';
import { readInput } from '../input';
import { addPlaceOptions, openKeyStore } from './options';
import type { PlaceOptions } from './options';

/** `sls admin trust-bundle export`: what users add with `sls trust add`, and the fingerprint to tell them by another way. */
export function addTrustBundle(admin: Command): void {
  const group = admin.command('trust-bundle').alias('trust').description('manage the trust bundle, which clients pin');
  addSign(group);
  const command = group
    .command('export')
    .description('sign a new trust bundle from the current keys, and print it')
    .option('--edited <file>', 'take policy and services from this edited copy of trust-bundle.json')
    .option('--out <file>', 'write it to this file instead of printing it');
  addPlaceOptions(addOutputOptions(command)).action(
    async (options: PlaceOptions & OutputOptions & { out?: string; edited?: string }) => {
      const out = new Output(options);
      const store = await openKeyStore(options);
      const file = options.out === undefined ? undefined : await openOutputFile(options.out, 'the trust bundle');
      const bundle = await publish(store, options.edited).catch(async (error: unknown) => {
        await file?.close();
        throw error;
      });
      const signed = await readRequiredKey(store, 'trust-bundle.jws');
      const key = await fingerprint(bundle.trustKey);
      await file?.write(`${signed}\n`).finally(() => file.close());
      out.note(
        `trust bundle ${bundle.sequence} of ${bundle.trustDomain}; give its users this fingerprint over another channel: ${key}`,
      );
      out.result(
        { sequence: bundle.sequence, trustDomain: bundle.trustDomain, fingerprint: key, bundle: signed },
        options.out === undefined ? [signed] : [],
      );
    },
  );
  addExample(
    command,
    'sls admin trust-bundle export --out sls-trust.jws',
    'sls admin trust-bundle export --edited edited.json --out sls-trust.jws',
  );
}

async function publish(store: KeyStore, edited: string | undefined): Promise<TrustBundle> {
  if (edited === undefined) return publishTrustBundle(store);
  const text = await readInput(edited, 'the edited trust bundle');
  try {
    const { services, policy } = parseTrustBundle(text, { byHand: true });
    // The edited file may be the plain bundle itself.
    return await publishTrustBundle(store, { services, policy }, { discardEdits: true });
  } catch (error) {
    if (!(error instanceof TrustBundleError)) throw error;
    throw new CliError(EXIT.usage, `${edited}: ${error.message}`, { code: error.code }, { cause: error });
  }
}

/** `sls admin trust-bundle sign`: for an operator whose trust key is kept away from the installation. */
function addSign(group: Command): void {
  const command = group
    .command('sign')
    .description('sign a trust bundle where the trust key is, as the installer asked for it')
    .argument('<file>', 'the bundle to sign, plain: read it before you sign it')
    .requiredOption('--trust-key <file>', "the installation's trust key, a private JWK")
    .option('--out <file>', 'write it to this file instead of printing it');
  addOutputOptions(command).action(
    async (file: string, options: OutputOptions & { trustKey: string; out?: string }) => {
      const [unsigned, key] = [
        await readInput(file, 'the trust bundle'),
        await readInput(options.trustKey, 'the trust key'),
      ];
      const { bundle, signed } = await signTrustBundleOffline(unsigned, key).catch((error: unknown) => {
        if (!(error instanceof TrustBundleError)) throw error;
        throw new CliError(EXIT.usage, `${file}: ${error.message}`, { code: error.code }, { cause: error });
      });
      if (options.out !== undefined) {
        const target = await openOutputFile(options.out, 'the trust bundle');
        await target.write(`${signed}\n`).finally(() => target.close());
      }
      const out = new Output(options);
      out.done(`signed: trust bundle ${bundle.sequence} of ${bundle.trustDomain}`);
      out.result({ sequence: bundle.sequence, bundle: signed }, options.out === undefined ? [signed] : []);
    },
  );
  addExample(
    command,
    'sls admin trust-bundle sign sls-trust.jws.unsigned.json --trust-key key.json --out sls-trust.jws.next',
  );
}
