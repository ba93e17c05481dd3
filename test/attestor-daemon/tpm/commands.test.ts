import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTpm } from '../../../attestor-daemon/tpm/commands';
import type { OpenTpm } from '../../../attestor-daemon/tpm/connection';
import { tpmOpener } from '../../../attestor-daemon/tpm/open';
import { pcrReset } from '../../../attestation/tpm/command';
import { TPM_CC } from '../../../attestation/tpm/constants';
import { parseEmpty } from '../../../attestation/tpm/response';
import { systemClock } from '../../../runtime/clock';
import type { Clock } from '../../../runtime/clock';
import { MovedClock, TestClock } from '../../support/clock';
import { startNodeTpm } from '../../support/node-tpm';
import type { NodeTpm } from '../../support/node-tpm';
import { u16, u32 } from '../../support/tpm-structures';

let tpm: NodeTpm;
let folder: string;
const servers: Server[] = [];
const clients = new Set<Socket>();
beforeAll(async () => {
  tpm = await startNodeTpm();
  folder = await mkdtemp(join(tmpdir(), 'sls-commands-'));
});
afterEach(async () => {
  for (const client of clients) client.destroy();
  clients.clear();
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
});
afterAll(async () => {
  await tpm.stop();
  await rm(folder, { recursive: true, force: true });
});

const reset = (open: OpenTpm, clock: Clock = systemClock): Promise<void> =>
  onTpm(open, clock, (to) => to.run(pcrReset(23), parseEmpty));

/** Named a fake: the real TPM, of which some answers to TPM2_PCR_Reset are codes that it doesn't give when it is told to. */
function answering(...codes: number[]): { open: OpenTpm; sent: number[] } {
  const sent: number[] = [];
  return {
    sent,
    async open() {
      const connection = await tpmOpener(tpm.tcti)!();
      return {
        ...connection,
        async transmit(command) {
          sent.push(command.readUInt32BE(6));
          const code = sent.at(-1) === TPM_CC.PCR_Reset ? codes.shift() : undefined;
          return code === undefined ? connection.transmit(command) : Buffer.concat([u16(0x8001), u32(10), u32(code)]);
        },
      };
    },
  };
}

/** A clock on which time passes while somebody sleeps, and never while the TPM works. */
function sleeping(told: (ms: number) => void): Clock {
  const clock = new TestClock();
  return {
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    after: (ms, then) => clock.after(ms, then),
    sleep(ms) {
      told(ms);
      return clock.advance(ms);
    },
  };
}

test.each([
  ['TPM_RC_YIELDED', 0x908],
  ['TPM_RC_TESTING', 0x90a],
  ['TPM_RC_NV_RATE', 0x920],
  ['TPM_RC_RETRY', 0x922],
  ['TPM_RC_NV_UNAVAILABLE', 0x923],
])('%s: the command is sent again, later each time', async (_name, code) => {
  const { open, sent } = answering(code, code, code);
  const waits: number[] = [];
  await reset(
    open,
    sleeping((ms) => waits.push(ms)),
  );
  expect(sent).toHaveLength(4);
  expect(waits.map((ms, at) => ms >= 5 * 2 ** at && ms <= 10 * 2 ** at)).toEqual([true, true, true]);
});

test('a TPM that never gets to it: the tries end with the time of one command, and the code keeps its name', async () => {
  const { open, sent } = answering(...Array.from({ length: 1_000 }, () => 0x90a));
  await expect(
    reset(
      open,
      sleeping(() => undefined),
    ),
  ).toRejectWithCode('tpm.failed', {
    responseCode: 0x90a,
    message: 'TPM2_PCR_Reset: expected success, got TPM_RC_TESTING',
  });
  expect(sent.length).toBeGreaterThan(1);
  expect(sent.length).toBeLessThan(60);
});

test.each([
  ['TPM_RC_LOCKOUT', 0x921, 'tpm.locked_out'],
  ['TPM_RC_CANCELED', 0x909, 'tpm.failed'],
  ['TPM_RC_FAILURE', 0x101, 'tpm.failed'],
  ['TPM_RC_INITIALIZE', 0x100, 'tpm.failed'],
  ['TPM_RC_LOCALITY', 0x907, 'tpm.failed'],
  ['TPM_RC_REFERENCE_H0', 0x910, 'tpm.failed'],
  ['response code 0x501', 0x501, 'tpm.failed'],
] as const)('%s: the command is not sent again, and the next quote finds the TPM free', async (name, code, kind) => {
  const { open, sent } = answering(code);
  await expect(reset(open)).toRejectWithCode(kind, { responseCode: code, message: expect.stringContaining(name) });
  expect(sent).toHaveLength(1);
  await reset(open);
});

test('no room for objects: all that is loaded is flushed once, and if that does not help, it is said', async () => {
  await tpm.tool('tpm2_createprimary', '-C', 'n', '-G', 'ecc', '-c', 'left.ctx');
  expect(await tpm.tool('tpm2_getcap', 'handles-transient')).toMatch(/0x80000000/);
  const once = answering(0x902);
  await reset(once.open);
  expect(once.sent).toContain(TPM_CC.FlushContext);
  expect(await tpm.tool('tpm2_getcap', 'handles-transient')).not.toMatch(/0x8/);
  const twice = answering(0x903, 0x903);
  await expect(reset(twice.open)).toRejectWithCode('tpm.failed', {
    responseCode: 0x903,
    message: expect.stringContaining('TPM_RC_SESSION_MEMORY'),
  });
});

/** What listens where a TPM should, and does something else: on the data socket `data`, on the control channel what swtpm says. */
async function impostor(data: (socket: Socket) => void): Promise<string> {
  const path = join(folder, `s${servers.length}-${Math.random().toString(36).slice(2, 8)}`);
  for (const [at, serve] of [
    [path, data],
    [`${path}.ctrl`, (socket: Socket) => socket.on('data', () => socket.write(u32(0)))],
  ] as const) {
    const server = createServer((socket) => {
      clients.add(socket.on('error', () => undefined));
      serve(socket);
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(at, resolve));
  }
  return `swtpm:path=${path}`;
}

test('a TPM that accepts a command and never answers is given up after ten seconds, and its socket is let go', async () => {
  let gone!: () => void;
  const left = new Promise<void>((resolve) => (gone = resolve));
  const clock = new TestClock();
  let asked!: () => void;
  const arrived = new Promise<void>((resolve) => (asked = resolve));
  const tcti = await impostor((socket) => void socket.on('data', asked).on('close', gone));
  const done = reset(tpmOpener(tcti)!, clock);
  const refused = expect(done).toRejectWithCode('tpm.timeout', {
    message: 'expected TPM2_PCR_Reset to end in 10000 ms',
  });
  await arrived;
  await clock.advance(10_000);
  await refused;
  await left;
});

test('a TPM that another connection keeps busy at the control channel is given up too', async () => {
  const path = join(folder, 'silent');
  for (const at of [path, `${path}.ctrl`]) {
    const server = createServer((socket) => void clients.add(socket.on('error', () => undefined)));
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(at, resolve));
  }
  const clock = new MovedClock();
  await expect(clock.passUntil(reset(tpmOpener(`swtpm:path=${path}`)!, clock))).toRejectWithCode('tpm.timeout', {
    message: 'expected the TPM to be opened to end in 10000 ms',
  });
});

test.each([
  ['a response of 4,097 bytes', Buffer.concat([u16(0x8002), u32(4097), u32(0)]), 'tpm.failed', '4096 bytes, got 4097'],
  [
    'a response of four billion bytes',
    Buffer.concat([u16(0x8002), u32(0xffffffff), u32(0)]),
    'tpm.failed',
    'got 4294967295',
  ],
  ['a response shorter than a header', Buffer.concat([u16(0x8002), u32(3), u32(0)]), 'tpm.failed', 'got 3'],
  ['more bytes than anybody asked for', Buffer.alloc(100_000), 'tpm.failed', 'more than a response'],
  [
    'a success without an authorization area',
    Buffer.concat([u16(0x8001), u32(10), u32(0)]),
    'tpm.failed',
    'expected tag 0x8002',
  ],
] as const)('%s is refused', async (_what, bytes, code, message) => {
  const tcti = await impostor((socket) => void socket.on('data', () => socket.write(bytes)));
  await expect(reset(tpmOpener(tcti)!)).toRejectWithCode(code, { message: expect.stringContaining(message) });
});

test('a TPM that goes away in the middle of a response is away', async () => {
  const tcti = await impostor((socket) => void socket.on('data', () => socket.end(Buffer.from([0x80, 2, 0]))));
  await expect(reset(tpmOpener(tcti)!)).toRejectWithCode('tpm.unavailable', {
    message: expect.stringContaining(`no TPM answers at ${tcti}`),
  });
  await expect(reset(tpmOpener(`swtpm:path=${join(folder, 'nothing')}`)!)).toRejectWithCode('tpm.unavailable');
});

test('a control channel that refuses is said', async () => {
  const path = join(folder, 'refusing');
  for (const at of [path, `${path}.ctrl`]) {
    const server = createServer((socket) => {
      clients.add(socket.on('error', () => undefined));
      socket.on('data', () => socket.write(u32(9)));
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(at, resolve));
  }
  await expect(reset(tpmOpener(`swtpm:path=${path}`)!)).toRejectWithCode('tpm.failed', {
    message: expect.stringContaining('set locality 0, got 9'),
  });
});
