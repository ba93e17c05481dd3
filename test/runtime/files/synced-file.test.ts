import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SyncedFile } from '../../../runtime/files/synced-file';
import { eventually } from '../../support/eventually';

const MIB = 1024 * 1024;

test('the file holds every byte in order, however often the disk began meanwhile', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sls-synced-'));
  const path = join(folder, 'file');
  const file = await open(path, 'wx');
  const synced = new SyncedFile(file, path);
  const expected = createHash('sha256');
  for (let written = 0; written < 80 * MIB; written += MIB) {
    const piece = randomBytes(MIB);
    expected.update(piece);
    await synced.write(piece);
  }
  await synced.sync();
  await file.close();
  expect(
    createHash('sha256')
      .update(await readFile(path))
      .digest('hex'),
  ).toBe(expected.digest('hex'));
  await rm(folder, { recursive: true });
});

test('a disk that fails while more is coming fails a later piece, and the end', async () => {
  // Takes what is written, and has no disk.
  const file = await open('/dev/null', 'w');
  const synced = new SyncedFile(file, '/dev/null');
  await synced.write(Buffer.alloc(33 * MIB));
  // The disk is begun with while more comes: some later piece is the first to hear of it.
  await expect(eventually(() => synced.write(Buffer.alloc(1)))).rejects.toMatchObject({
    code: 'EINVAL',
    path: '/dev/null',
  });
  await expect(synced.sync()).rejects.toMatchObject({ code: 'EINVAL' });
  await file.close();
});
