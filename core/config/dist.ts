import { basename, dirname, join } from 'node:path';

/** The folder of the bundled programs, whether this code runs from a bundle or from its source. */
export function distFolder(): string {
  if (basename(__dirname) === 'dist') return __dirname;
  return join(dirname(dirname(__dirname)), 'dist');
}
