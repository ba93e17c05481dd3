import { generateKeyPairSync } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { parsePcrSelections, QUOTED_PCRS } from '../../../attestation/tpm/pcr';
import { parsePublic } from '../../../attestation/tpm/public';
import { parseQuote } from '../../../attestation/tpm/quote';
import { parseSignature } from '../../../attestation/tpm/signature';
import { TpmError } from '../../../attestation/tpm/errors';
import { TPM_ALG } from '../../../attestation/tpm/constants';
import {
  encodeAttest,
  encodeEccPublic,
  encodeEcdsa,
  encodeRsaPublic,
  encodeSelections,
} from '../../support/tpm-structures';

const structures: [string, Buffer, (bytes: Uint8Array) => unknown][] = [
  ['TPMS_ATTEST', encodeAttest({ extraData: Buffer.alloc(32, 3) }), parseQuote],
  ['TPMT_PUBLIC, ECC', encodeEccPublic(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey), parsePublic],
  ['TPMT_PUBLIC, RSA', encodeRsaPublic(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey), parsePublic],
  ['TPMT_SIGNATURE', encodeEcdsa(Buffer.alloc(32, 1), Buffer.alloc(32, 2)), parseSignature],
  ['TPML_PCR_SELECTION', encodeSelections([{ hash: TPM_ALG.SHA256, pcrs: QUOTED_PCRS }]), parsePcrSelections],
];
const MUTATIONS = 1_000_000;
/** A few bytes kept of each mutation would be more. */
const MEMORY_CAP = 16 * 1024 * 1024;

/** xorshift32: quick, and the same on every run. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** Overwrites one to four bytes, or cuts, or puts one to four bytes anywhere. */
function mutate(bytes: Buffer, next: () => number): Buffer {
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

/** Bytes that are still referenced: the resident size says more about when garbage was last collected. */
function heldMemory(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

test('a million mutations with a memory cap: a typed error each time, or a value', () => {
  const { stackTraceLimit } = Error;
  // A million stack traces would be most of the work.
  Error.stackTraceLimit = 0;
  try {
    const before = heldMemory();
    const outcomes = { taken: 0, refused: 0 };
    for (const [what, good, parse] of structures) {
      const next = numbers(0x5151 + good.length);
      for (let round = 0; round < MUTATIONS / structures.length; round++) {
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
    expect(outcomes.taken + outcomes.refused).toBe(MUTATIONS);
    expect(outcomes.refused).toBeGreaterThan(MUTATIONS / 4);
    expect(outcomes.taken).toBeGreaterThan(MUTATIONS / 100);
    expect(heldMemory() - before).toBeLessThan(MEMORY_CAP);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
});

test.each(structures)('%s: arbitrary bytes give a value or a typed error', (_, good, parse) => {
  const head = good.subarray(0, 10);
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.uint8Array({ maxLength: 300 }).map((rest) => Buffer.concat([head, rest])),
  );
  fc.assert(
    fc.property(bytes, (input) => {
      try {
        parse(input);
      } catch (error) {
        expect(error).toBeInstanceOf(TpmError);
      }
    }),
    { numRuns: 2000 },
  );
});
