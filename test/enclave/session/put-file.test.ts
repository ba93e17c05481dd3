import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import {
  appendFile,
  chmod,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Readable, Writable } from 'node:stream';
import { Metadata } from '@grpc/grpc-js';
import { connect } from '../../../client/index';
import type { EnclaveConnection, FileSource } from '../../../client/index';
import type { PutFileRequest } from '../../../proto/gen/licensing/v1/session';
import type { SessionServiceClient } from '../../../proto/gen/licensing/v1/session';
import { startEnclaveFixture } from '../../support/enclave';
import { eventually } from '../../support/eventually';
import type { EnclaveFixture } from '../../support/enclave';

const MIB = 1024 * 1024;

let fixture: EnclaveFixture;
let connection: EnclaveConnection;
beforeAll(async () => {
  fixture = await startEnclaveFixture();
  connection = await connect(fixture.trust, await fixture.session());
});
afterAll(async () => {
  connection.close();
  await fixture.stop();
});

const local = (name: string): string => join(fixture.folder, name);
const inside = (name: string): string => join(fixture.workspace, name);
const source = (stream: Readable, size: number, mode = 0o644): FileSource => Object.assign(stream, { size, mode });
/** A character device of Linux's memory devices. Root gets one of its own: a fault must not replace the machine's. */
function device(name: string, minor: number): string {
  if (process.geteuid?.() !== 0) return join('/dev', name);
  execFileSync('mknod', [inside(name), 'c', '1', String(minor)]);
  return inside(name);
}
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** Between source and target: the buffers of streams, of HTTP/2 and of the kernel. */
const MOST_ON_THE_WAY = 24 * MIB;

/** Zeros without holding them. @param onRead told of each piece that is asked for */
function zeros(size: number, onRead: (length: number) => void = () => undefined): Readable {
  const piece = Buffer.alloc(MIB);
  let left = size;
  return new Readable({
    read() {
      const length = Math.min(left, MIB);
      left -= length;
      onRead(length);
      this.push(length === 0 ? null : piece.subarray(0, length));
    },
  });
}

/** Counts what is read from files by this process. */
async function countReads(): Promise<{ bytes(): number; stop(): void }> {
  const file = await open(local('any'), 'w');
  const prototype = Object.getPrototypeOf(file) as { read(...args: unknown[]): Promise<{ bytesRead: number }> };
  await file.close();
  const { read } = prototype;
  let bytes = 0;
  prototype.read = async function (...args) {
    const result = await read.apply(this, args);
    bytes += result.bytesRead;
    return result;
  };
  return { bytes: () => bytes, stop: () => void (prototype.read = read) };
}

test.each([0, 1, 65_535, 262_144, 262_145, 3 * MIB + 17])(
  'a file of %i bytes there and back, with its mode',
  async (size) => {
    const bytes = randomBytes(size);
    await writeFile(local('from'), bytes);
    await chmod(local('from'), 0o751);
    await connection.putFile(local('from'), 'file.bin');
    expect(sha256(await readFile(inside('file.bin')))).toBe(sha256(bytes));
    expect((await stat(inside('file.bin'))).mode & 0o7777).toBe(0o751);
    await connection.getFile('file.bin', local('to'));
    expect(sha256(await readFile(local('to')))).toBe(sha256(bytes));
    expect((await stat(local('to'))).mode & 0o7777).toBe(0o751);
  },
);

test('512 MiB both ways, of which no more than a few are on the way at any moment', async () => {
  const size = 512 * MIB;
  let ahead = 0;
  let sent = 0;
  const arrived = (): number => {
    const [name] = readdirSync(fixture.workspace).filter((file) => file.endsWith('.part'));
    return name === undefined ? 0 : statSync(inside(name)).size;
  };
  const counted = zeros(size, (length) => {
    sent += length;
    ahead = Math.max(ahead, sent - arrived());
  });
  await connection.putFile(source(counted, size), 'large');
  expect(sent).toBe(size);
  expect(ahead).toBeLessThan(MOST_ON_THE_WAY);

  // The enclave is in this process: what it has read of the file and the client has not written is in memory.
  const read = await countReads();
  let received = 0;
  ahead = 0;
  const sink = new Writable({
    highWaterMark: 1,
    write(chunk: Buffer, _encoding, done) {
      received += chunk.length;
      ahead = Math.max(ahead, read.bytes() - received);
      // Whoever doesn't wait for its reader gets ahead here.
      setImmediate(done);
    },
  });
  await connection.getFile('large', sink);
  read.stop();
  expect(received).toBe(size);
  expect(ahead).toBeLessThan(MOST_ON_THE_WAY);
  await connection.exec(['rm', 'large'], {
    stdin: Readable.from([]),
    stdout: new PassThrough(),
    stderr: new PassThrough(),
  });
});

describe('a put that fails leaves nothing', () => {
  async function unchanged(work: () => Promise<unknown>): Promise<void> {
    await writeFile(inside('kept'), 'as it was');
    const before = await readdir(fixture.workspace);
    await work();
    await eventually(async () => (await readdir(fixture.workspace)).length === before.length);
    expect(await readdir(fixture.workspace)).toEqual(before);
    expect(await readFile(inside('kept'), 'utf8')).toBe('as it was');
  }

  /** Until the enclave has a part of the file. */
  const begun = (): Promise<unknown> =>
    eventually(async () => (await readdir(fixture.workspace)).some((file) => file.endsWith('.part')));

  /** What the enclave says to these messages. */
  const answerTo = (...messages: Array<PutFileRequest['part']>): Promise<string> => {
    const { client } = connection as unknown as { client: SessionServiceClient };
    return new Promise((resolve) => {
      const call = client.putFile(new Metadata(), (error) => resolve(error?.details ?? 'none'));
      call.on('error', () => undefined);
      for (const part of messages) call.write({ part });
      call.end();
    });
  };
  const header = (size: bigint, mode = 0o644): PutFileRequest['part'] => ({
    $case: 'header',
    value: { path: 'kept', mode, size },
  });
  const data: PutFileRequest['part'] = { $case: 'data', value: Buffer.alloc(10) };
  const end = (size: bigint): PutFileRequest['part'] => ({ $case: 'end', value: { size } });

  test('another size than was announced, without an end that says so', () =>
    unchanged(async () => {
      expect(await answerTo(header(11n), data)).toBe('expected 11 bytes, got 10');
      expect(await answerTo(header(9n), data)).toBe('expected 9 bytes, got 10');
    }));

  test('an end that says another size than there was, or is none', () =>
    unchanged(async () => {
      expect(await answerTo(header(11n), data, end(11n))).toBe('expected 11 bytes, got 10');
      expect(await answerTo(header(10n), data, end(9n))).toBe('expected 9 bytes, got 10');
      expect(await answerTo(header(20n), data, end(10n), data)).toBe('expected nothing after the end');
      expect(await answerTo(end(0n))).toBe('expected the file header first');
    }));

  test('the source fails half-way', () =>
    unchanged(async () => {
      const broken = Readable.from(
        (async function* () {
          yield Buffer.alloc(MIB);
          await begun();
          throw new Error('unplugged');
        })(),
      );
      await expect(connection.putFile(source(broken, 2 * MIB), 'kept')).rejects.toThrow('unplugged');
    }));

  test('the connection ends half-way', () =>
    unchanged(async () => {
      const other = await connect(fixture.trust, await fixture.session());
      const stalled = new PassThrough();
      stalled.write(Buffer.alloc(MIB));
      const put = other.putFile(source(stalled, 2 * MIB), 'kept');
      put.catch(() => undefined);
      await begun();
      other.close();
      stalled.end();
      await expect(put).toRejectWithCode('connection.closed');
    }));

  test('no header, or permission bits that are none', () =>
    unchanged(async () => {
      await expect(connection.putFile(source(zeros(1), 1, 0o644), '')).toRejectWithCode('file.path');
      expect(await answerTo(data)).toBe('expected the file header first');
      expect(await answerTo(header(0n, 0o4755))).toBe('expected permission bits up to 0o777, got 0o4755');
      expect(await answerTo(header(-1n))).toBe('expected a size of 0 or more, got -1');
    }));
});

test('a get that fails leaves nothing, and what was there', async () => {
  await writeFile(local('kept'), 'as it was');
  const before = await readdir(fixture.folder);
  await expect(connection.getFile('absent', local('kept'))).toRejectWithCode('file.not_found', {
    message: '"absent": no such file or folder',
  });
  await writeFile(inside('shrinking'), '');
  await expect(connection.getFile('.', local('kept'))).toRejectWithCode('file.is_folder');
  expect(await readdir(fixture.folder)).toEqual(before);
  expect(await readFile(local('kept'), 'utf8')).toBe('as it was');
});

test('errors name the path as the client wrote it', async () => {
  const put = (path: string): Promise<void> => connection.putFile(source(zeros(1), 1), path);
  await mkdir(inside('folder'), { recursive: true });
  await writeFile(inside('plain'), '');
  await expect(put('nowhere/file')).toRejectWithCode('file.not_found', {
    message: '"nowhere/file": no such file or folder',
  });
  await expect(put('plain/file')).toRejectWithCode('file.not_found');
  await expect(put('folder')).toRejectWithCode('file.is_folder');
  await expect(put(device('null', 3))).toRejectWithCode('file.not_regular');
  await expect(put('a\0b')).toRejectWithCode('file.path');
  await expect(put('x'.repeat(5000))).toRejectWithCode('file.path');
  await expect(put('x'.repeat(300))).toRejectWithCode('file.path');
  await expect(connection.getFile('/dev/zero', local('never'))).toRejectWithCode('file.not_regular');
  await expect(connection.getFile('a\0b', local('never'))).toRejectWithCode('file.path');
});

test("the enclave's own files are refused, by whatever name", async () => {
  await symlink(fixture.credentialFile, inside('by-link'));
  for (const path of [fixture.credentialFile, 'by-link', '/proc/self/environ', '/proc/self/maps'])
    await expect(connection.getFile(path, local('never'))).toRejectWithCode('file.denied', {
      message: "the file is the enclave's own",
    });
  // What is beside them is the user's.
  await writeFile(join(fixture.folder, 'credential-of-mine'), 'mine');
  for (const path of [join(fixture.folder, 'credential-of-mine'), '/proc/version'])
    await connection.getFile(path, local('fetched'));
});

test('a fifo that nobody writes is refused, not waited for', async () => {
  await connection.exec(['mkfifo', 'fifo'], {
    stdin: Readable.from([]),
    stdout: new PassThrough(),
    stderr: new PassThrough(),
  });
  await expect(connection.getFile('fifo', local('never'))).toRejectWithCode('file.not_regular');
  await expect(connection.putFile(source(zeros(1), 1), 'fifo')).toRejectWithCode('file.not_regular');
  execFileSync('mkfifo', [local('fifo')]);
  await expect(connection.putFile(local('fifo'), 'copied')).rejects.toThrow(TypeError);
});

test('a file that shrinks while it is read is an error, not a short file', async () => {
  await connection.putFile(source(zeros(16 * MIB), 16 * MIB), 'shrinking');
  let first = true;
  const slow = new Writable({
    highWaterMark: 1,
    write(_chunk, _encoding, done) {
      if (!first) return done();
      first = false;
      void writeFile(inside('shrinking'), 'short').then(() => done());
    },
  });
  await expect(connection.getFile('shrinking', slow)).toRejectWithCode('file.changed');
});

test('a file that shrinks before it is sent whole is an error, not a short file', async () => {
  await writeFile(local('shrinking'), Buffer.alloc(64 * MIB));
  const before = await readdir(fixture.workspace);
  const put = connection.putFile(local('shrinking'), 'shrunk');
  await eventually(async () => (await readdir(fixture.workspace)).some((file) => file.endsWith('.part')));
  await writeFile(local('shrinking'), 'short');
  await expect(put).rejects.toThrow('the file became shorter while it was read');
  await eventually(async () => (await readdir(fixture.workspace)).length === before.length);
});

test('a file that grows is copied to the end that it has when it is reached', async () => {
  const grown = source(Readable.from([Buffer.from('as it was, '), Buffer.from('and more')]), 10);
  await connection.putFile(grown, 'grown');
  expect(await readFile(inside('grown'), 'utf8')).toBe('as it was, and more');

  await connection.putFile(source(zeros(16 * MIB), 16 * MIB), 'growing');
  let received = 0;
  const slow = new Writable({
    highWaterMark: 1,
    write(chunk: Buffer, _encoding, done) {
      const first = received === 0;
      received += chunk.length;
      if (first) void appendFile(inside('growing'), 'more').then(() => done());
      else done();
    },
  });
  await connection.getFile('growing', slow);
  expect(received).toBe(16 * MIB + 4);
});

test('a file that says it is empty, and is not, arrives', async () => {
  const text = await readFile('/proc/version', 'utf8');
  expect((await stat('/proc/version')).size).toBe(0);
  await connection.putFile('/proc/version', 'version');
  expect(await readFile(inside('version'), 'utf8')).toBe(text);
  await connection.getFile('/proc/version', local('version'));
  expect(await readFile(local('version'), 'utf8')).toBe(text);
});

test('names may be as long as a file system has them, in both directions', async () => {
  const long = '\u6587'.repeat(85);
  expect(Buffer.byteLength(long)).toBe(255);
  await connection.putFile(source(Readable.from([Buffer.from('long')]), 4), long);
  await connection.getFile(long, local(long));
  expect(await readFile(local(long), 'utf8')).toBe('long');
});

test('a link is written through, also to where nothing is yet', async () => {
  await writeFile(inside('real'), 'old');
  await symlink('real', inside('link'));
  await symlink('not-there-yet', inside('dangling'));
  await connection.putFile(source(Readable.from([Buffer.from('new')]), 3), 'link');
  await connection.putFile(source(Readable.from([Buffer.from('made')]), 4), 'dangling');
  expect(await readlink(inside('link'))).toBe('real');
  expect(await readFile(inside('real'), 'utf8')).toBe('new');
  expect(await readlink(inside('dangling'))).toBe('not-there-yet');
  expect(await readFile(inside('not-there-yet'), 'utf8')).toBe('made');
});

test('absolute paths work as they do for commands', async () => {
  await connection.putFile(source(Readable.from([Buffer.from('there')]), 5), local('absolute'));
  expect(await readFile(local('absolute'), 'utf8')).toBe('there');
});
