import type { Evidence, PcrValue } from '../../../proto/gen/licensing/v1/evidence';
import { describeSelections, pcrDigest, QUOTED_PCRS, quotedPcrs, ROOT_PCR, rootPcrValue } from '../../tpm/pcr';
import { parseQuote } from '../../tpm/quote';
import type { Quote } from '../../tpm/quote';
import { claimsLeaf } from '../claims';
import { EvidenceError } from '../errors';
import { rootFromPath } from '../../transparency/merkle';
import type { Passed } from './step';

/** Magic, type and structure by the parser; then which PCRs were quoted. */
export function checkQuote(attest: Buffer): Passed<Quote> {
  const quote = parseQuote(attest);
  const selection = describeSelections(quote.pcrSelections);
  if (quotedPcrs(quote.pcrSelections) === undefined) {
    throw new EvidenceError(
      'quote',
      'quote.pcr_selection',
      `expected PCRs sha256:${QUOTED_PCRS.join(',')}, got ${selection || 'none'}`,
    );
  }
  return { value: quote, detail: `PCRs ${selection}` };
}

/** The values are exactly the quoted PCRs', ascending, and hash to the digest that the TPM signed. */
export function checkPcrDigest(quote: Quote, pcrs: readonly PcrValue[]): Passed<void> {
  const expected = quotedPcrs(quote.pcrSelections)?.join(',') ?? 'none';
  const indexes = pcrs.map(({ index }) => index).join(',');
  if (indexes !== expected || pcrs.some(({ sha256 }) => sha256.length !== 32)) {
    throw new EvidenceError(
      'pcr_digest',
      'pcr_digest.values',
      `expected values of 32 bytes for PCRs ${expected}, got ${indexes.slice(0, 80) || 'none'}`,
    );
  }
  const digest = pcrDigest(pcrs.map(({ sha256 }) => sha256));
  if (!digest.equals(quote.pcrDigest)) {
    throw new EvidenceError(
      'pcr_digest',
      'pcr_digest.mismatch',
      `expected PCR values with digest ${quote.pcrDigest.toString('hex')}, got ${digest.toString('hex')}`,
    );
  }
  return { value: undefined, detail: `digest ${digest.toString('hex')}` };
}

/**
 * extraData → root → leaf (attestation/evidence/claims.ts). The claims' leaf leads to a root which stands in both places. PCR 23 alone is anybody's who reaches the TPM;
 * qualifying data alone would not be measured.
 */
export function checkRoot(
  quote: Quote,
  evidence: Pick<Evidence, 'pcrs' | 'claims' | 'leafIndex' | 'leafCount' | 'merklePath'>,
): Passed<void> {
  const { leafIndex, leafCount, merklePath } = evidence;
  const root = rootFromPath(claimsLeaf(evidence.claims), leafIndex, leafCount, merklePath);
  if (root === undefined) {
    throw new EvidenceError(
      'root',
      'root.path',
      `expected a path for leaf ${leafIndex} of ${leafCount}, got one of ${merklePath.length} hashes that doesn't fit`,
    );
  }
  if (!quote.extraData.equals(root)) {
    throw new EvidenceError(
      'root',
      'root.qualifying_data',
      `expected qualifying data ${root.toString('hex')}, got ${quote.extraData.toString('hex') || 'none'}`,
    );
  }
  const value = evidence.pcrs.find(({ index }) => index === ROOT_PCR)?.sha256;
  const expected = rootPcrValue(root);
  if (value === undefined || !expected.equals(value)) {
    throw new EvidenceError(
      'root',
      'root.pcr',
      `expected PCR ${ROOT_PCR} to be ${expected.toString('hex')}, got ${value?.toString('hex') ?? 'none'}`,
    );
  }
  return { value: undefined, detail: `root ${root.toString('hex')}, leaf ${leafIndex + 1} of ${leafCount}` };
}
