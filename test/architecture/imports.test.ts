import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CRYPTOGRAPHY, LAYERS, MAY_IMPORT, PURE } from './rules';
import { circles, importsOf, inside, root, sources } from './sources';

const rooms = Object.keys(MAY_IMPORT);
/** The innermost room that a path is in: client/cli before client. */
const roomOf = (path: string): string | undefined =>
  rooms.filter((room) => inside(path, room)).sort((a, b) => b.length - a.length)[0];
const files = [...new Set(rooms.flatMap(sources))];

test('every room imports the storeys below it and nothing above', () => {
  const wrong: string[] = [];
  for (const file of files) {
    const room = roomOf(file) ?? '';
    const allowed = [room, 'proto/gen', 'errors', ...(MAY_IMPORT[room] ?? [])];
    for (const { target, relative } of importsOf(file)) {
      if (relative && !allowed.some((folder) => inside(target, folder))) wrong.push(`${file} -> ${target}`);
      // client/cli stands on client, which must not know it.
      if (relative && room !== 'client/cli' && inside(target, 'client/cli')) wrong.push(`${file} -> ${target}`);
    }
  }
  expect(wrong).toEqual([]);
});

test('inside a storey nothing imports upward, in the order of trust', () => {
  const wrong: string[] = [];
  for (const [storey, layers] of Object.entries(LAYERS)) {
    const layerOf = (path: string): number =>
      layers.findIndex((layer) => layer.some((folder) => inside(path, `${storey}/${folder}`)));
    for (const file of sources(storey)) {
      expect({ file, layer: layerOf(file) }).not.toEqual({ file, layer: -1 });
      const folder = file.split('/')[1] ?? '';
      for (const { target, relative } of importsOf(file)) {
        if (!relative || !inside(target, storey) || inside(target, `${storey}/${folder}`)) continue;
        // The lowest layer of runtime holds what every other part of it writes to: logs, counts and traces know each other.
        if (layerOf(target) > layerOf(file) || (layerOf(target) === layerOf(file) && storey !== 'runtime'))
          wrong.push(`${file} -> ${target}`);
      }
    }
  }
  expect(wrong).toEqual([]);
});

test('attestation is pure: no network, no gRPC, no files, and cryptography in one place', () => {
  const wrong = sources('attestation')
    .flatMap(importsOf)
    .filter(({ target, relative }) => !relative && !PURE.includes(target))
    .filter(({ file, target }) => file !== CRYPTOGRAPHY.file || target !== CRYPTOGRAPHY.target)
    .map(({ file, target }) => `${file} -> ${target}`);
  expect(wrong).toEqual([]);
});

test('attestation is told the time, and never asks', () => {
  const clocks = /\bDate\.now\b|\bnew Date\(\s*\)|\bperformance\b|\bhrtime\b|\bset(Timeout|Interval|Immediate)\b/;
  const wrong = sources('attestation').filter((file) => clocks.test(readFileSync(join(root, file), 'utf8')));
  expect(wrong).toEqual([]);
});

test('one clock: nothing else asks for the time, or sleeps', () => {
  const wrong = files
    .filter((file) => file !== 'runtime/clock.ts')
    .filter((file) => /\bDate\.now\b|\bnew Date\(\s*\)|\bsetTimeout as\b/.test(readFileSync(join(root, file), 'utf8')));
  expect(wrong).toEqual([]);
});

test('no imports go round in a circle', () => {
  expect(circles(files)).toEqual([]);
});

test('no folder or file hides its subject behind utils, helpers, common or core', () => {
  const names = [...files, ...sources('test'), ...sources('bench')].filter((file) =>
    /(^|\/)(utils?|helpers?|common|core)(\/|\.)/.test(file),
  );
  expect(names).toEqual([]);
});

/** One row for each folder of a storey and each program, with what it does import. */
function table(): string {
  const folders = [
    ...rooms.filter((room) => LAYERS[room] === undefined),
    ...Object.entries(LAYERS).flatMap(([storey, layers]) => layers.flat().map((name) => `${storey}/${name}`)),
  ];
  const partOf = (path: string): string | undefined =>
    folders.filter((folder) => inside(path, folder)).sort((a, b) => b.length - a.length)[0];
  const rows = folders.sort().map((folder) => {
    const targets = sources(folder)
      .filter((file) => partOf(file) === folder)
      .flatMap(importsOf)
      .filter(({ relative }) => relative)
      .map(({ target }) => partOf(target));
    const others = [...new Set(targets)].filter((target) => target !== undefined && target !== folder).sort();
    return `| \`${folder}\` | ${others.map((target) => `\`${target}\``).join(', ') || 'nothing'} |`;
  });
  return ['| folder | imports |', '| --- | --- |', ...rows].join('\n');
}

/** With UPDATE_ARCHITECTURE=1 it writes the table instead. */
test("ARCHITECTURE.md's table of imports is what the code imports", () => {
  const file = join(root, 'ARCHITECTURE.md');
  const text = readFileSync(file, 'utf8');
  const [before = '', rest = ''] = text.split('<!-- imports:begin -->');
  const [, after = ''] = rest.split('<!-- imports:end -->');
  const wanted = `${before}<!-- imports:begin -->\n<!-- prettier-ignore -->\n${table()}\n\n<!-- imports:end -->${after}`;
  if (process.env['UPDATE_ARCHITECTURE']) writeFileSync(file, wanted);
  expect(readFileSync(file, 'utf8')).toBe(wanted);
});
