import { pcrDigest, QUOTED_PCRS, ROOT_PCR, rootPcrValue } from '../../attestation/tpm/pcr';
import { publicKeyObject } from '../../attestation/tpm/public';
import { parseQuote } from '../../attestation/tpm/quote';
import { parseSignature, verifyEcdsaP256 } from '../../attestation/tpm/signature';
import type { AttestationKey } from './attestation-key';
import { TpmCommandError } from './errors';
import type { TpmTools } from './tools';
import { systemClock } from '../../runtime/clock';
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
const DIGEST_BYTES = 32;
const SELECTION = `sha256:${QUOTED_PCRS.join(',')}`;
/** TPM_RC_AUTH_FAIL, TPM_RC_BAD_AUTH (session 1), TPM_RC_HANDLE: the key at the handle isn't ours any more. */
const KEY_GONE = [0x98e, 0x9a2, 0x18b];

/**
 * Root → qualifyingData (attestation/evidence/claims.ts). Quotes the boot PCRs and a fresh PCR 23 that holds `root` (32 bytes), with `root` as qualifying data too. Any process that reaches the TPM may
 * reset or extend PCR 23 between: such a quote is noticed and thrown away, never handed out.
 * @param delayMs benchmarks only: how much slower than this one a real TPM signs
 * @throws TpmCommandError tpm.pcr_disturbed when it happens each time, tpm.key_lost, tpm.unavailable, tpm.timeout, tpm.failed
 */
export async function quote(
  tools: TpmTools,
  key: AttestationKey,
  root: Buffer,
  delayMs = 0,
  log: Logger = silent,
): Promise<TpmQuote> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const result = await tools.exclusive(() => quoteOnce(tools, key, root, delayMs));
    if (result !== undefined) return result;
    log.warn({ attempt }, 'another process changed PCR 23 during a quote');
  }
  throw new TpmCommandError(
    'tpm.pcr_disturbed',
    `expected PCR ${ROOT_PCR} to stay as it was set for one quote in ${ATTEMPTS}, but another process changed it each time`,
  );
}

/** @returns undefined when PCR 23 was disturbed */
async function quoteOnce(
  tools: TpmTools,
  key: AttestationKey,
  root: Buffer,
  delayMs: number,
): Promise<TpmQuote | undefined> {
  const hex = root.toString('hex');
  await tools.run('tpm2_pcrreset', ['-Q', String(ROOT_PCR)]);
  await tools.run('tpm2_pcrextend', ['-Q', `${ROOT_PCR}:sha256=${hex}`]);
  if (delayMs > 0) await systemClock.sleep(delayMs);
  try {
    const output = ['-m', 'quote.attest', '-s', 'quote.signature', '-o', 'quote.pcrs', '-F', 'values'];
    await tools.run('tpm2_quote', [
      '-Q',
      '-c',
      key.handle,
      '-p',
      key.auth,
      '-g',
      'sha256',
      '-l',
      SELECTION,
      '-q',
      hex,
      ...output,
    ]);
  } catch (error) {
    if (!(error instanceof TpmCommandError)) throw error;
    if (KEY_GONE.includes(error.responseCode ?? 0))
      throw new TpmCommandError('tpm.key_lost', error.message, error.responseCode, { cause: error });
    // The tool reads the PCRs after the quote and compares: what it calls an error is a PCR that changed between.
    if (error.code === 'tpm.failed' && error.responseCode === undefined && /pcr/i.test(error.message)) return undefined;
    throw error;
  }
  const [attest, signature, values] = await Promise.all(
    ['quote.attest', 'quote.signature', 'quote.pcrs'].map((name) => tools.read(name)),
  );
  return check({ attest, signature, values } as { attest: Buffer; signature: Buffer; values: Buffer }, key, root);
}

/** What a verifier would refuse isn't handed out. */
function check(
  raw: { attest: Buffer; signature: Buffer; values: Buffer },
  key: AttestationKey,
  root: Buffer,
): TpmQuote | undefined {
  const pcrs = QUOTED_PCRS.map((index, at) => ({
    index,
    sha256: raw.values.subarray(at * DIGEST_BYTES, (at + 1) * DIGEST_BYTES),
  }));
  const parsed = parseQuote(raw.attest);
  const undisturbed =
    raw.values.length === QUOTED_PCRS.length * DIGEST_BYTES &&
    parsed.pcrDigest.equals(pcrDigest(pcrs.map((pcr) => pcr.sha256))) &&
    pcrs.some((pcr) => pcr.index === ROOT_PCR && pcr.sha256.equals(rootPcrValue(root)));
  if (!undisturbed) return undefined;
  if (
    !parsed.extraData.equals(root) ||
    !verifyEcdsaP256(publicKeyObject(key.public), parseSignature(raw.signature), raw.attest)
  ) {
    throw new TpmCommandError(
      'tpm.key_lost',
      'expected a quote by the attestation key of this node, got one by another key',
    );
  }
  return { attest: raw.attest, signature: raw.signature, pcrs };
}
