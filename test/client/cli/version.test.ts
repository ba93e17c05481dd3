import { execFileSync } from 'node:child_process';
import { versionText } from '../../../client/cli/version';
import { built } from '../../support/built';

const run = (...args: string[]): string =>
  execFileSync(process.execPath, [built('sls'), ...args], { encoding: 'utf8' });

test('what was built says its version and the commit that it was built from', () => {
  const [, version, commit] = /^(\d+\.\d+\.\d+) \(commit (unknown|[0-9a-f]{12,40}(?:-changed)?)\)\n$/.exec(
    run('--version'),
  )!;
  expect(JSON.parse(run('--version', '--json'))).toEqual({ version, commit });
});

test('what was not built knows no commit', () => {
  expect(versionText(false)).toMatch(/^\d+\.\d+\.\d+ \(commit unknown\)$/);
  expect(JSON.parse(versionText(true))).toMatchObject({ commit: 'unknown' });
});
