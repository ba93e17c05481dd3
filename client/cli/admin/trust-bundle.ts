import { writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { need } from '../../../installation/store';
import { publishTrustBundle } from '../../../installation/trust';
import { fingerprint } from '../../../attestation/trust/public-key';
import { addExample, addOutputOptions } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { addPlaceOptions, openKeyStore } from './options';
import type { PlaceOptions } from './options';

/** `sls admin trust-bundle export`: what users add with `sls trust add`, and the fingerprint to tell them by another way. */
export function addTrustBundle(admin: Command): void {
  const command = admin
    .command('trust-bundle')
    .description('what clients pin')
    .command('export')
    .description('sign the trust bundle anew, edits of trust-bundle.json included, and print it')
    .option('--out <file>', 'write it there instead of printing it');
  addPlaceOptions(addOutputOptions(command)).action(
    async (options: PlaceOptions & OutputOptions & { out?: string }) => {
      const out = new Output(options);
      const store = await openKeyStore(options);
      const bundle = await publishTrustBundle(store);
      const signed = await need(store, 'trust-bundle.jws');
      const key = await fingerprint(bundle.trustKey);
      if (options.out !== undefined) await writeFile(options.out, `${signed}\n`);
      out.note(
        `trust bundle ${bundle.sequence} of ${bundle.trustDomain}; tell its users this fingerprint by another way: ${key}`,
      );
      out.result(
        { sequence: bundle.sequence, trustDomain: bundle.trustDomain, fingerprint: key, bundle: signed },
        options.out === undefined ? [signed] : [],
      );
    },
  );
  addExample(command, 'sls admin trust-bundle export --out sls-trust.jws');
}
