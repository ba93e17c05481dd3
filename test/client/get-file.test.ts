import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { credentials, status } from '@grpc/grpc-js';
import { getFile } from '../../client/get-file';
import { SessionServiceClient, SessionServiceService } from '../../proto/gen/licensing/v1/session';
import type { GetFileResponse, SessionServiceServer } from '../../proto/gen/licensing/v1/session';
import { serverStream, writeMessage } from '../../runtime/rpc/handlers';
import type { Implementation } from '../../runtime/rpc/handlers';
import { startServer } from '../../runtime/rpc/server';
import type { RunningServer } from '../../runtime/rpc/server';

type Part = NonNullable<GetFileResponse['part']>;

const header = (size: number): Part => ({ $case: 'header', value: { path: 'f', mode: 0o644, size: BigInt(size) } });
const data = (text: string): Part => ({ $case: 'data', value: Buffer.from(text) });
const end = (size: number): Part => ({ $case: 'end', value: { size: BigInt(size) } });

/** What an enclave sends that is broken, or of a release with faults. */
let parts: Part[];
let server: RunningServer;
let client: SessionServiceClient;
let folder: string;
beforeAll(async () => {
  const implementation = {
    getFile: serverStream(async (call) => {
      for (const part of parts) await writeMessage(call, { part });
    }),
  } as unknown as Implementation<SessionServiceServer>;
  server = await startServer({
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    services: [{ definition: SessionServiceService, implementation }],
    authenticate: () => Promise.resolve(),
  });
  client = new SessionServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
});
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sls-get-file-'));
  writeFileSync(join(folder, 'f'), 'what was there');
});
afterEach(() => rmSync(folder, { recursive: true }));
afterAll(async () => {
  client.close();
  await server.stop(0);
});

const fetch = (): Promise<void> => getFile(client, 'f', join(folder, 'f'));

test.each<[string, Part[], string]>([
  ['less than its header says', [header(6), data('mea')], 'expected 6 bytes, got 3'],
  ['more than its header says', [header(2), data('mea')], 'expected 2 bytes, got 3'],
  ['less than its end says', [header(3), data('mea'), end(6)], 'expected 6 bytes, got 3'],
  ['nothing at all', [], 'expected undefined bytes, got 0'],
  ['data without a header', [data('mea')], 'expected a header, then data'],
  ['two headers', [header(3), header(3), data('mea')], 'expected a header, then data'],
  ['an end without a header', [end(0)], 'expected a header, then data'],
])('a file of which there is %s is refused, and what was there stays', async (_, sent, message) => {
  parts = sent;
  await expect(fetch()).toRejectWithCode('file.stream', { grpcStatus: status.DATA_LOSS, message });
  expect(readdirSync(folder)).toEqual(['f']);
  expect(readFileSync(join(folder, 'f'), 'utf8')).toBe('what was there');
});

test('one that is as large as its end says, whatever its header does, takes the place of what was there', async () => {
  parts = [header(0), data('mea'), data('sured'), end(8)];
  await fetch();
  expect(readFileSync(join(folder, 'f'), 'utf8')).toBe('measured');
});
