import { pcrDigest, QUOTED_PCRS, ROOT_PCR, rootPcrValue } from '../../attestation/tpm/pcr';
import { publicKeyObject } from '../../attestation/tpm/public';
import { parseQuote } from '../../attestation/tpm/quote';
import { parseSignature, verifyEcdsaP256 } from '../../attestation/tpm/signature';
import type { AttestationKey } from './attestation-key';
import { TpmCommandError } from './errors';
import type { QuoteOnce, RawQuote } from './raw-quote';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';

export interface TpmQuote {
  /** TPMS_ATTEST. */
  attest: Buffer;
  /** TPMT_SIGNATURE. */
  signature: Buffer;
  /** QUOTED_PCRS with their SHA-256 values, ascending. */
  pcrs: { index: number; sha256: Buffer }[];
}

const ATTEMPTS = 5;

/**
 * Root → qualifyingData (attestation/evidence/claims.ts). Quotes the boot PCRs and a fresh PCR 23 that holds `root` (32 bytes), with `root` as qualifying data too. Any process that reaches the TPM may
 * reset or extend PCR 23 between: such a quote is noticed and thrown away, never handed out.
 * @throws TpmCommandError tpm.pcr_disturbed when it happens each time, tpm.key_lost, tpm.unavailable, tpm.timeout, tpm.failed
 */
export async function quote(
  once: QuoteOnce,
  key: AttestationKey,
  root: Buffer,
  delayMs = 0,
  log: Logger = silent,
): Promise<TpmQuote> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const raw = await once(key, root, delayMs);
    const checked = raw && check(raw, key, root);
    if (checked !== undefined) return checked;
    log.warn({ attempt }, 'another process changed PCR 23 during a quote');
  }
  throw new TpmCommandError(
    'tpm.pcr_disturbed',
    `expected PCR ${ROOT_PCR} to stay as it was set for one quote in ${ATTEMPTS}, but another process changed it each time`,
  );
}

/** What a verifier would refuse isn't handed out. @returns undefined when PCR 23 was disturbed */
function check({ attest, signature, values }: RawQuote, key: AttestationKey, root: Buffer): TpmQuote | undefined {
  const parsed = parseQuote(attest);
  const undisturbed =
    values.length === QUOTED_PCRS.length &&
    parsed.pcrDigest.equals(pcrDigest(values)) &&
    values[QUOTED_PCRS.indexOf(ROOT_PCR)]?.equals(rootPcrValue(root)) === true;
  if (!undisturbed) return undefined;
  if (
    !parsed.extraData.equals(root) ||
    !verifyEcdsaP256(publicKeyObject(key.public), parseSignature(signature), attest)
  ) {
    throw new TpmCommandError(
      'tpm.key_lost',
      'expected a quote by the attestation key of this node, got one by another key',
    );
  }
  return { attest, signature, pcrs: QUOTED_PCRS.map((index, at) => ({ index, sha256: values[at] as Buffer })) };
}
