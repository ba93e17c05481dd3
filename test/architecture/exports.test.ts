import { exportsOf, usesOf } from './exports';
import { MAY_IMPORT } from './rules';
import { sources } from './sources';

const product = [...new Set(Object.keys(MAY_IMPORT).flatMap(sources))];
const users = [...product, ...sources('test'), ...sources('bench')];

test('whatever a file exports, another one uses', () => {
  const used = new Set(users.flatMap(usesOf));
  const unused = product.flatMap((file) =>
    used.has(`${file} *`)
      ? []
      : exportsOf(file)
          .filter((name) => !used.has(`${file} ${name}`))
          .map((name) => `${file}: ${name}`),
  );
  expect(unused).toEqual([]);
});
