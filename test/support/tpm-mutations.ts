import { generateKeyPairSync } from 'node:crypto';
import { TPM_ALG } from '../../attestation/tpm/constants';
import { TpmError } from '../../attestation/tpm/errors';
import { parsePcrSelections, QUOTED_PCRS } from '../../attestation/tpm/pcr';
import { parsePublic } from '../../attestation/tpm/public';
import { parseQuote } from '../../attestation/tpm/quote';
import { parseSignature } from '../../attestation/tpm/signature';
import { encodeAttest, encodeEccPublic, encodeEcdsa, encodeRsaPublic, encodeSelections } from './tpm-structures';

export const structures: [string, Buffer, (bytes: Uint8Array) => unknown][] = [
  ['TPMS_ATTEST', encodeAttest({ extraData: Buffer.alloc(32, 3) }), parseQuote],
  ['TPMT_PUBLIC, ECC', encodeEccPublic(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey), parsePublic],
  ['TPMT_PUBLIC, RSA', encodeRsaPublic(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey), parsePublic],
  ['TPMT_SIGNATURE', encodeEcdsa(Buffer.alloc(32, 1), Buffer.alloc(32, 2)), parseSignature],
  ['TPML_PCR_SELECTION', encodeSelections([{ hash: TPM_ALG.SHA256, pcrs: QUOTED_PCRS }]), parsePcrSelections],
];
/** xorshift32: quick, and the same on every run. */
export function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** Overwrites one to four bytes, or cuts, or puts one to four bytes anywhere. */
export function mutate(bytes: Buffer, next: () => number): Buffer {
  const kind = next() % 8;
  if (kind === 0) return bytes.subarray(0, next() % bytes.length);
  if (kind === 1) {
    const at = next() % (bytes.length + 1);
    const more = Buffer.from([next(), next(), next(), next()]).subarray(0, 1 + (next() % 4));
    return Buffer.concat([bytes.subarray(0, at), more, bytes.subarray(at)]);
  }
  const mutated = Buffer.from(bytes);
  // The first bytes decide what the others mean, so they get half of the hits.
  for (let hits = 1 + (next() % 4); hits > 0; hits--)
    mutated[next() % (next() % 2 === 0 ? 32 : mutated.length)] = INTERESTING[next() % 16] ?? next();
  return mutated;
}
const INTERESTING = [0, 1, 2, 3, 4, 0x10, 0x7f, 0x80, 0xfe, 0xff];

export interface Outcomes {
  /** Mutations that still were a value. */
  taken: number;
  refused: number;
}

/** Parses mutations of all structures. @throws Error of the bytes that gave anything but a value or a TpmError */
export function parseMutations(mutations: number): Outcomes {
  // A million stack traces would be most of the work.
  Error.stackTraceLimit = 0;
  const outcomes = { taken: 0, refused: 0 };
  for (const [what, good, parse] of structures) {
    const next = numbers(0x5151 + good.length);
    for (let round = 0; round < mutations / structures.length; round++) {
      const bytes = mutate(good, next);
      try {
        parse(bytes);
        outcomes.taken++;
      } catch (error) {
        if (!(error instanceof TpmError)) throw new Error(`${what}: ${bytes.toString('hex')}`, { cause: error });
        outcomes.refused++;
      }
    }
  }
  return outcomes;
}
