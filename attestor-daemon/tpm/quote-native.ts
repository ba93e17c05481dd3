import { pcrExtend, pcrRead, pcrReset, quoteCommand } from '../../attestation/tpm/command';
import { TPM_ALG } from '../../attestation/tpm/constants';
import { pcrDigest, QUOTED_PCRS, ROOT_PCR, rootPcrValue } from '../../attestation/tpm/pcr';
import { parseQuote } from '../../attestation/tpm/quote';
import { parseEmpty, parsePcrReadResponse, parseQuoteResponse } from '../../attestation/tpm/response';
import { readText } from '../../runtime/text/utf8';
import { systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';
import { onTpm } from './commands';
import type { TpmCommands } from './commands';
import type { OpenTpm } from './connection';
import { TpmCommandError } from './errors';
import { keyLost } from './explain';
import type { QuoteOnce } from './raw-quote';
import type { TpmTools } from './tools';

const SELECTION = { hash: TPM_ALG.SHA256, pcrs: [...QUOTED_PCRS] };
const BOOT_PCRS = QUOTED_PCRS.filter((pcr) => pcr !== ROOT_PCR);

/**
 * Quotes by the TPM's own commands: three for each, no process and no session. The TPM is open for one quote at a time, so that other programs,
 * such as tpm2-tools of ours, get in between.
 * @param tools whose turn it isn't meanwhile
 */
export function nativeQuotes(open: OpenTpm, tools: TpmTools, clock: Clock = systemClock): QuoteOnce {
  /** Of the boot PCRs, as they were last: the next quote's digest says whether they still are. */
  let known: readonly Buffer[] | undefined;
  return (key, root, delayMs) =>
    tools.exclusive(async () => {
      const auth = await readAuth(key.authFile);
      return onTpm(open, clock, async (tpm) => {
        await tpm.run(pcrReset(ROOT_PCR), parseEmpty);
        await tpm.run(pcrExtend(ROOT_PCR, root), parseEmpty);
        if (delayMs > 0) await clock.sleep(delayMs);
        const command = quoteCommand({ handle: Number(key.handle), auth, qualifyingData: root, selection: SELECTION });
        // With the quote parsed at once: a response that holds none is the TPM's failure.
        const parse = (response: Buffer) => {
          const { attest, signature } = parseQuoteResponse(response);
          return { attest, signature, digest: parseQuote(attest).pcrDigest };
        };
        const { attest, signature, digest } = await tpm.run(command, parse).catch(keyLost);
        const expected = known && [...known, rootPcrValue(root)];
        if (expected && pcrDigest(expected).equals(digest)) return { attest, signature, values: expected };
        const values = await readPcrs(tpm);
        known = values.slice(0, BOOT_PCRS.length);
        return { attest, signature, values };
      });
    });
}

/** Their values in the SHA-256 bank. A TPM reads as many as it likes at a time: eight, as a rule. */
async function readPcrs(tpm: TpmCommands): Promise<Buffer[]> {
  const values = new Map<number, Buffer>();
  for (;;) {
    const missing = QUOTED_PCRS.filter((pcr) => !values.has(pcr));
    if (missing.length === 0) return QUOTED_PCRS.map((pcr) => values.get(pcr) as Buffer);
    const read = await tpm.run(pcrRead({ hash: TPM_ALG.SHA256, pcrs: missing }), parsePcrReadResponse);
    const news = [...read].filter(([pcr]) => missing.includes(pcr));
    if (news.length === 0)
      throw new TpmCommandError(
        'tpm.no_sha256_bank',
        `expected the values of PCRs ${missing.join()}, got none of them`,
      );
    for (const [pcr, value] of news) values.set(pcr, value);
  }
}

/** As tpm2-tools take it: hex:, then the value. */
async function readAuth(file: string): Promise<Buffer> {
  const text = await readText(file).catch((cause: Error) => {
    throw new TpmCommandError('tpm.key_lost', `expected the attestation key's authorization in ${file}`, undefined, {
      cause,
    });
  });
  return Buffer.from(text.slice('hex:'.length), 'hex');
}
