import { once } from 'node:events';
import { join, resolve } from 'node:path';
import { Worker } from 'node:worker_threads';
import { build } from 'esbuild';
import fc from 'fast-check';
import { TpmError } from '../../../attestation/tpm/errors';
import { madeOnce } from '../../support/run-folder';
import { structures } from '../../support/tpm-mutations';
import type { Outcomes } from '../../support/tpm-mutations';

const MUTATIONS = 1_000_000;
/** What one mutation leaves behind would be more, a million times. The code alone takes a third. */
const HEAP_MIB = 24;

test('a million mutations with a memory cap: a typed error each time, or a value', async () => {
  const folder = await madeOnce('tpm-mutations', async (draft) => {
    await build({
      stdin: {
        contents: `
          import { parentPort } from 'node:worker_threads';
          import { parseMutations } from './test/support/tpm-mutations';
          parentPort.postMessage(parseMutations(${MUTATIONS}));`,
        resolveDir: resolve(__dirname, '../../..'),
        loader: 'ts',
      },
      bundle: true,
      platform: 'node',
      outfile: join(draft, 'main.cjs'),
    });
  });
  // The cap is V8's own: a thread that outgrows it ends with an error.
  const thread = new Worker(join(folder, 'main.cjs'), {
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB, maxYoungGenerationSizeMb: 4 },
  });
  const [{ taken, refused }] = (await once(thread, 'message')) as [Outcomes];
  expect(taken + refused).toBe(MUTATIONS);
  expect(refused).toBeGreaterThan(MUTATIONS / 4);
  expect(taken).toBeGreaterThan(MUTATIONS / 100);
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
