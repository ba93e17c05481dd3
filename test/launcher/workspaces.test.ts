import { randomUUID } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { removeWorkspaces, workspaceOf } from '../../launcher/workspaces';

const NOBODY = 65534;
const isRoot = process.geteuid?.() === 0;
const user = randomUUID();
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sls-workspaces-'));
  // To root nothing is locked.
  if (!isRoot) return;
  chownSync(folder, NOBODY, NOBODY);
  process.seteuid!(NOBODY);
});
afterEach(() => {
  if (isRoot) process.seteuid!(0);
  rmSync(folder, { recursive: true, force: true });
});

function make(name: string): string {
  const workspace = join(folder, workspaceOf({ user, name }));
  mkdirSync(workspace, { mode: 0o700 });
  writeFileSync(join(workspace, 'file'), name);
  return workspace;
}

test('one enclave is removed, and nothing of the others', async () => {
  const other = randomUUID();
  for (const name of ['default', 'lab', 'lab-2']) make(name);
  mkdirSync(join(folder, other));
  await removeWorkspaces(folder, { user, name: 'lab' });
  expect(readdirSync(folder).sort()).toEqual([user, `${user}.lab-2`, other].sort());
  await removeWorkspaces(folder, { user, name: '' });
  expect(readdirSync(folder)).toEqual([other]);
  await removeWorkspaces(folder, { user, name: 'lab' });
});

test.each([0o000, 0o500, 0o555])(
  'a folder in it that was made unwritable (%s) keeps none from being removed',
  async (mode) => {
    const workspace = make('lab');
    for (const path of ['modules', 'modules/one', 'modules/one/two']) mkdirSync(join(workspace, path));
    writeFileSync(join(workspace, 'modules', 'one', 'two', 'file'), 'x', { mode: 0o400 });
    for (const path of ['modules/one/two', 'modules/one', 'modules', '.']) chmodSync(join(workspace, path), mode);
    await removeWorkspaces(folder, { user, name: 'lab' });
    expect(existsSync(workspace)).toBe(false);
  },
);

test('what a link in it points at stays as it is', async () => {
  const workspace = make('lab');
  const outside = join(folder, 'outside');
  mkdirSync(join(outside, 'kept'), { recursive: true });
  symlinkSync(outside, join(workspace, 'link'));
  mkdirSync(join(workspace, 'locked'));
  symlinkSync(outside, join(workspace, 'locked', 'link'));
  chmodSync(outside, 0o500);
  chmodSync(join(workspace, 'locked'), 0o500);
  await removeWorkspaces(folder, { user, name: 'lab' });
  expect(readdirSync(folder)).toEqual(['outside']);
  expect(readdirSync(outside)).toEqual(['kept']);
  chmodSync(outside, 0o700);
});
