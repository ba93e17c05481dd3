import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

export const root = resolve(__dirname, '../..');

export interface Import {
  /** Path from the root, with its .ts. */
  file: string;
  /** Path from the root without an ending, or the name of a package. */
  target: string;
  relative: boolean;
}

/** Every TypeScript file below a folder, or the one file of that name, as paths from the root. */
export function sources(folder: string): string[] {
  if (existsSync(join(root, `${folder}.ts`))) return [`${folder}.ts`];
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)));
}

export function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), 'utf8');
  return [...text.matchAll(/(?:from|import|import\(|require\()\s*['"]([^'"\n]+)['"]/g)].map(([, name = '']) =>
    name.startsWith('.')
      ? { file, target: relative(root, resolve(root, dirname(file), name)), relative: true }
      : { file, target: name, relative: false },
  );
}

export function inside(path: string, folder: string): boolean {
  return path === folder || path === `${folder}.ts` || path.startsWith(`${folder}/`);
}

/** Circles of imports among the files, each as the files on it in order. */
export function circles(files: readonly string[]): string[][] {
  const edges = new Map(
    files.map((file) => [
      file,
      importsOf(file)
        .filter((each) => each.relative)
        .map(({ target }) => (files.includes(`${target}.ts`) ? `${target}.ts` : `${target}/index.ts`)),
    ]),
  );
  const found: string[][] = [];
  const done = new Set<string>();
  const walk = (file: string, path: string[]): void => {
    const at = path.indexOf(file);
    if (at !== -1) return void found.push([...path.slice(at), file]);
    if (done.has(file)) return;
    for (const next of edges.get(file) ?? []) walk(next, [...path, file]);
    done.add(file);
  };
  for (const file of files) walk(file, []);
  return found;
}
