import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { inside, root, sources } from './sources';

/** Tests of more than one file of the source, and what tests share. */
const OF_THE_WHOLE = ['architecture', 'e2e', 'flow', 'mutation', 'support', 'tpm-device', 'vectors'];

/** The source that test/PATH/FILE[.ASPECT].test.ts is about: PATH/FILE.ts, or a manifest. */
function isMirrored(test: string): boolean {
  const path = test.replace(/^test\//, '').replace(/\.test\.ts$/, '');
  const folder = path.slice(0, path.lastIndexOf('/') + 1);
  const parts = path.slice(folder.length).split('.');
  // A file's own name may have a full stop.
  return parts.some((_, index) =>
    ['ts', 'yaml'].some((type) => existsSync(join(root, `${folder}${parts.slice(0, index + 1).join('.')}.${type}`))),
  );
}

test('every unit test is where its source is: test/PATH/FILE[.ASPECT].test.ts for PATH/FILE.ts', () => {
  const tests = sources('test').filter(
    (file) => file.endsWith('.test.ts') && !OF_THE_WHOLE.some((folder) => inside(file, `test/${folder}`)),
  );
  expect(tests.length).toBeGreaterThan(100);
  expect(tests.filter((file) => !isMirrored(file))).toEqual([]);
});
