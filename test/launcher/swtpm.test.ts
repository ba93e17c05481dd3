import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSwtpmState, startSwtpm } from '../../launcher/swtpm';

let folder: string;
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'sls-swtpm-'))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const ask = (tcti: string, ...command: [string, ...string[]]): string =>
  execFileSync(command[0], command.slice(1), {
    env: { ...process.env, TPM2TOOLS_TCTI: tcti, TSS2_LOG: 'all+none' },
    encoding: 'utf8',
  });

test('a software TPM is made once, serves, and survives being killed', async () => {
  const stateFolder = join(folder, 'tpm one');
  const certificates = await createSwtpmState(stateFolder, { caFolder: join(folder, 'ca') });
  expect(certificates).toHaveLength(2);
  const before = await readFile(join(stateFolder, 'tpm2-00.permall'));
  expect(await createSwtpmState(stateFolder, { caFolder: join(folder, 'ca') })).toEqual(certificates);
  expect(await readFile(join(stateFolder, 'tpm2-00.permall'))).toEqual(before);

  const socket = join(folder, 'tpm.sock');
  const first = await startSwtpm({ stateFolder, socket });
  expect(first.caCertificates).toEqual(certificates);
  expect(ask(first.tcti, 'tpm2_getcap', 'handles-nv-index')).toMatch(/0x1C00002/);
  await expect(startSwtpm({ stateFolder, socket })).toRejectWithCode('swtpm.in_use');
  await expect(startSwtpm({ stateFolder, socket: join(folder, 'other.sock') })).toRejectWithCode('swtpm.start_failed');

  process.kill(first.pid, 'SIGKILL');
  await first.exited;
  const second = await startSwtpm({ stateFolder, socket });
  expect(ask(second.tcti, 'tpm2_getcap', 'handles-persistent')).toMatch(/0x81010001/);
  await second.stop();
  await second.exited;
});

test('a socket path that is too long for the kernel is refused with its length', async () => {
  const socket = join(folder, 'x'.repeat(110));
  await expect(startSwtpm({ stateFolder: folder, socket })).toRejectWithCode('swtpm.socket_path', {
    message: expect.stringContaining('102 bytes at most'),
  });
});
