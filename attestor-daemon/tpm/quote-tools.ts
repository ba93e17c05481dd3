import { QUOTED_PCRS, ROOT_PCR } from '../../attestation/tpm/pcr';
import { systemClock } from '../../runtime/clock';
import { TpmCommandError } from './errors';
import { keyLost } from './explain';
import type { QuoteOnce } from './raw-quote';
import type { TpmTools } from './tools';

const DIGEST_BYTES = 32;
const SELECTION = `sha256:${QUOTED_PCRS.join(',')}`;

/** Quotes by tpm2-tools, three processes for each: for TCTIs that are spoken nowhere else, and to compare with. */
export function toolQuotes(tools: TpmTools): QuoteOnce {
  return (key, root, delayMs) =>
    tools.exclusive(async () => {
      const hex = root.toString('hex');
      await tools.run('tpm2_pcrreset', ['-Q', String(ROOT_PCR)]);
      await tools.run('tpm2_pcrextend', ['-Q', `${ROOT_PCR}:sha256=${hex}`]);
      if (delayMs > 0) await systemClock.sleep(delayMs);
      const use = ['-c', key.handle, '-p', `file:${key.authFile}`, '-g', 'sha256', '-l', SELECTION, '-q', hex];
      const output = ['-m', 'quote.attest', '-s', 'quote.signature', '-o', 'quote.pcrs', '-F', 'values'];
      try {
        await tools.run('tpm2_quote', ['-Q', ...use, ...output]).catch(keyLost);
      } catch (error) {
        // The tool reads the PCRs after the quote and compares: what it calls an error is a PCR that changed between.
        const disturbed =
          error instanceof TpmCommandError &&
          error.code === 'tpm.failed' &&
          error.responseCode === undefined &&
          /pcr/i.test(error.message);
        if (disturbed) return undefined;
        throw error;
      }
      const read = (name: string): Promise<Buffer> => tools.read(name);
      const [attest, signature, values] = [
        await read('quote.attest'),
        await read('quote.signature'),
        await read('quote.pcrs'),
      ];
      const count = Math.floor(values.length / DIGEST_BYTES);
      return {
        attest,
        signature,
        values: Array.from({ length: count }, (_, at) => values.subarray(at * DIGEST_BYTES, (at + 1) * DIGEST_BYTES)),
      };
    });
}
