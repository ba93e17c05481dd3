import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pcrReset } from '../../../attestation/tpm/command';
import { deviceOpener } from '../../../attestor-daemon/tpm/device';
import { tpmOpener } from '../../../attestor-daemon/tpm/open';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sls-device-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const command = pcrReset(23).bytes;

/** A file that reads as a device does: what is written takes the command's place, and what stands behind it is read. */
async function device(name: string, response: Buffer): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, Buffer.concat([Buffer.alloc(command.length), response]));
  return path;
}

test('a command is one write, and its response one read of all that there is', async () => {
  const response = Buffer.alloc(4096, 7);
  const connection = await deviceOpener(await device('whole', Buffer.concat([response, Buffer.alloc(10)])))();
  expect(await connection.transmit(command)).toEqual(response);
  await connection.close();
  await connection.close();
});

test('a device that another user may not open, or that is not there, is told apart', async () => {
  await expect(tpmOpener(`device:${join(folder, 'nothing')}`)!()).toRejectWithCode('tpm.unavailable', {
    message: expect.stringContaining(`no TPM answers at device:${join(folder, 'nothing')}: set TPM`),
  });
  if (process.getuid?.() !== 0) {
    const path = await device('closed', Buffer.alloc(0));
    await chmod(path, 0);
    await expect(tpmOpener(`device:${path}`)!()).toRejectWithCode('tpm.no_rights');
  }
});

test('while a command is under way nobody gets another thread of the pool for this device', async () => {
  const open = deviceOpener(await device('slow', Buffer.alloc(10)));
  const connection = await open();
  const under = connection.transmit(command);
  const closed = connection.close();
  await expect(open()).toRejectWithCode('tpm.timeout', {
    message: expect.stringContaining('answered an earlier command'),
  });
  await closed;
  await expect(under).rejects.toThrow('file closed');
  await (await open()).close();
});
