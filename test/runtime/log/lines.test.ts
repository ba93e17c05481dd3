import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Lines } from '../../../runtime/log/lines';
import { mountSmallDisk } from '../../support/small-disk';

const missing = ({ lines, reason }: { lines: number; reason: string }): string => `(${lines} missing: ${reason})\n`;

function failing(code: string): never {
  throw Object.assign(new Error(code), { code });
}

test('lines that have no room are left out and counted, and what was torn becomes a line of its own', () => {
  let taken = '';
  let room = 12;
  const lines = new Lines(2, missing, (_fd, bytes, offset) => {
    if (room === 0) failing('ENOSPC');
    const piece = Buffer.from(bytes).subarray(offset, offset + room);
    taken += piece.toString();
    room -= piece.length;
    return piece.length;
  });
  lines.write('one\n');
  lines.write('the second one\n');
  lines.write('three\n');
  room = 1_000;
  lines.write('four\n');
  lines.write('five\n');
  expect(taken).toBe('one\nthe seco\n(2 missing: ENOSPC)\nfour\nfive\n');
});

test('a note that has no room is written later', () => {
  let taken = '';
  let full = true;
  const lines = new Lines(2, missing, (_fd, bytes, offset) => {
    if (full) failing('EIO');
    taken += Buffer.from(bytes).subarray(offset).toString();
    return bytes.length - offset;
  });
  for (let line = 0; line < 3; line++) lines.write('lost\n');
  full = false;
  lines.write('there\n');
  expect(taken).toBe('(3 missing: EIO)\nthere\n');
});

test('a reader that takes nothing is waited for a moment, once', () => {
  let looks = 0;
  const lines = new Lines(2, missing, () => {
    looks += 1;
    return failing('EAGAIN');
  });
  lines.write('one\n');
  const first = looks;
  lines.write('two\n');
  expect({ waited: first > 1, again: looks - first }).toEqual({ waited: true, again: 1 });
});

test('/dev/full takes nothing, and nothing fails', () => {
  const fd = openSync('/dev/full', 'w');
  try {
    new Lines(fd, missing).write('lost\n');
  } finally {
    closeSync(fd);
  }
});

test('a full disk: lines come again once there is room', () => {
  const disk = mountSmallDisk(64 * 1024);
  if (!disk) return;
  try {
    const path = join(disk.folder, 'program.log');
    const fd = openSync(path, 'a');
    const lines = new Lines(fd, missing);
    lines.write('before\n');
    disk.fill();
    // What is left of the file's last page has room still.
    for (let line = 0; line < 100; line++) lines.write(`${'x'.repeat(99)}\n`);
    disk.empty();
    lines.write('after\n');
    closeSync(fd);
    expect(readFileSync(path, 'utf8')).toMatch(/^before\n(x{99}\n)+(x+\n)?\(\d+ missing: ENOSPC\)\nafter\n$/);
  } finally {
    disk.remove();
  }
});
