/**
 * Writes the vectors that are new, with the keys in keys.json, and keeps the committed ones as they are: they stand for what earlier releases signed.
 * To make one anew on purpose, take it out of its file first.
 *   node test/vectors/make/make.mjs [NAME...]
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { evidence } from './evidence.mjs';
import { saveKeys } from './keys.mjs';
import { closings, heartbeats, proofs, seatProofs } from './statements.mjs';
import { adminProofs, bundles, heads, licences, revocations, seatTokens } from './tokens.mjs';

const files = {
  evidence,
  proofs,
  heartbeats,
  closings,
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
  const file = new URL(`../${name}.json`, import.meta.url);
  const committed = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : content;
  const vectors = content.vectors.map((vector) => committed.vectors.find((one) => one.name === vector.name) ?? vector);
  writeFileSync(file, `${JSON.stringify({ ...committed, vectors }, null, 2)}\n`);
}
saveKeys();
