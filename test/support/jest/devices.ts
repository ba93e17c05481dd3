import { lstatSync, readlinkSync } from 'node:fs';

const NODES = ['/dev/null', '/dev/zero', '/dev/full'];
const LINKS = ['/dev/stdin', '/dev/stdout', '/dev/stderr'];

function kept(look: () => string): string {
  try {
    return look();
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code);
  }
}

/** What a fault of a program under test could replace for the whole machine: one line for each, as it is now. */
export function lookAtDevices(): string {
  const nodes = NODES.map((path) => {
    const look = (): string => {
      const info = lstatSync(path);
      return info.isCharacterDevice() ? `device ${info.rdev}` : 'no device';
    };
    return `${path}: ${kept(look)}`;
  });
  return [...nodes, ...LINKS.map((path) => `${path}: ${kept(() => readlinkSync(path))}`)].join('\n');
}
