import { X509Certificate } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { AttestationKeyManager } from '../../attestor-daemon/attestation-key-manager';
import { parsePublic } from '../../attestation/tpm/public';
import { dateOf } from '../../runtime/clock';
import { RpcError } from '../../runtime/rpc/errors';
import { TestClock } from '../support/clock';
import { eventually } from '../support/eventually';
import { makeFakeTpm, NODE } from '../support/evidence';
import type { FakeTpm } from '../support/evidence';
import { issueAttestationKeyCertificate } from '../../licensing/authority/attestation-key';

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const DAYS = 7;

let folder: string;
let tpm: FakeTpm;
let clock: TestClock;
let enrolled: number;
let quotes: number;
let enrolIsAway: boolean;
let ready: boolean;
let manager: AttestationKeyManager;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sls-manager-'));
  clock = new TestClock();
  tpm = await makeFakeTpm();
  [enrolled, quotes, enrolIsAway, ready] = [0, 0, false, false];
  manager = new AttestationKeyManager({
    stateDir: folder,
    node: NODE,
    clock,
    ensureKey: () => Promise.resolve({ handle: '0x81010010', authFile: '', public: parsePublic(tpm.akPublic) }),
    tryQuote: () => Promise.resolve(quotes++),
    enrol: async () => {
      if (enrolIsAway) throw new RpcError('rpc.unavailable', status.UNAVAILABLE, 'enrol is away');
      enrolled += 1;
      const details = {
        ekSha256: 'ab'.repeat(32),
        manufacturer: 'TEST',
        model: 'fake',
        firmware: '1',
        software: false,
      };
      const { authority: ca, akPublic, node } = tpm;
      return [
        await issueAttestationKeyCertificate({
          ca,
          trustDomain: 'sls.test',
          node,
          akPublic,
          details,
          days: DAYS,
          now: dateOf(clock),
        }),
      ];
    },
    onReady: (value) => (ready = value),
  });
  manager.start();
  await rests();
});
afterEach(async () => {
  await manager.stop();
  await rm(folder, { recursive: true });
});

/** Until it waits for the clock again. */
async function rests(): Promise<void> {
  await clock.untilWaiting();
}

function until(): number {
  const [certificate] = manager.last?.certificates ?? [];
  return Date.parse(new X509Certificate(certificate ?? Buffer.of()).validTo);
}

test('a machine that was suspended for 10 days has its certificate renewed within a minute', async () => {
  expect({ enrolled, ready }).toEqual({ enrolled: 1, ready: true });
  // No timer has moved meanwhile.
  clock.set(clock.now() + 10 * DAY);
  await clock.advance(MINUTE);
  await eventually(() => enrolled === 2);
  await rests();
  expect(until()).toBeGreaterThan(clock.now() + (DAYS - 1) * DAY);
  expect(ready).toBe(true);
});

test('whoever uses the key right after that gets the renewed one, without a timer', async () => {
  clock.set(clock.now() + 10 * DAY);
  const used = await Promise.all([manager.forUse(), manager.forUse()]);
  expect(enrolled).toBe(2);
  expect(used.map((key) => key?.certificates)).toEqual([manager.last?.certificates, manager.last?.certificates]);
  expect(until()).toBeGreaterThan(clock.now());
});

test('a certificate that was made while the clock was ahead is renewed once the clock is put right', async () => {
  clock.set(clock.now() + 100 * DAY);
  await manager.forUse();
  expect(enrolled).toBe(2);
  clock.set(clock.now() - 100 * DAY);
  await clock.advance(MINUTE);
  await eventually(() => enrolled === 3);
  await rests();
  expect(until()).toBeLessThan(clock.now() + (DAYS + 1) * DAY);
});

test('a clock that is put right by less than certificates begin before their time costs nothing', async () => {
  clock.set(clock.now() - 4 * MINUTE);
  await clock.advance(MINUTE);
  await rests();
  expect(enrolled).toBe(1);
});

test('looking at the clock is no look at the TPM: that has its hour', async () => {
  const before = quotes;
  await clock.advance(50 * MINUTE);
  expect(quotes).toBe(before);
  await clock.advance(11 * MINUTE);
  await eventually(() => quotes === before + 1);
});

test('where it can not be renewed, evidence is refused, and not everybody who asks asks enrol', async () => {
  enrolIsAway = true;
  clock.set(clock.now() + 10 * DAY);
  expect(await manager.forUse()).toBeUndefined();
  expect(await manager.forUse()).toBeUndefined();
  expect(ready).toBe(false);
  enrolIsAway = false;
  await rests();
  await clock.advance(MINUTE);
  await eventually(() => ready);
  expect(await manager.forUse()).toBe(manager.last);
});
