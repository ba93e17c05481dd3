/**
 * Writes the vectors anew, with the keys in keys.json. ECDSA signatures differ each time, so run it only for vectors that are
 * new or changed on purpose: the committed files stand for what earlier releases signed.
 *   node test/vectors/make/make.mjs [NAME...]
 */
import { writeFileSync } from 'node:fs';
import { evidence } from './evidence.mjs';
import { saveKeys } from './keys.mjs';
import { heartbeats, proofs, seatProofs } from './statements.mjs';
import { adminProofs, bundles, heads, licences, revocations, seatTokens } from './tokens.mjs';

const files = {
  evidence,
  proofs,
  heartbeats,
  bundles,
  heads,
  licences,
  revocations,
  'seat-proofs': seatProofs,
  'seat-tokens': seatTokens,
  'admin-proofs': adminProofs,
};
const wanted = process.argv.slice(2);
for (const [name, content] of Object.entries(files)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  writeFileSync(new URL(`../${name}.json`, import.meta.url), `${JSON.stringify(content, null, 2)}\n`);
}
saveKeys();
