/** A setting of scripts/e2e. @throws Error that names it when it is missing. */
export function setting(name: string, fallback?: string): string {
  const value = process.env[name] ?? fallback;
  if (value === undefined || value === '') throw new Error(`${name} is not set: scripts/e2e says what it is`);
  return value;
}

/** REPOSITORY@sha256:HEX of a program's image. */
export function imageOf(program: string): string {
  const pair = setting('SLS_IMAGES')
    .split(' ')
    .find((text) => text.startsWith(`${program}=`));
  if (pair === undefined) throw new Error(`SLS_IMAGES lacks ${program}`);
  return pair.slice(program.length + 1);
}

export const digestOf = (program: string): string => imageOf(program).replace(/^.*@/, '');
