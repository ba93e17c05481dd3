import { dirname, extname, join } from 'node:path';

/** The folder of the bundled programs, whether this code runs from a bundle (wherever that was copied to) or from its source. */
export function distFolder(): string {
  if (extname(__filename) === '.cjs') return __dirname;
  return join(dirname(dirname(__dirname)), 'dist');
}
