import { readMeasuredBoot } from '../attestation/boot/measured';
import { pcrsOf } from '../test/support/boot';
import { bootEvents, encodeEventLog, grubEvent } from '../test/support/event-log';
import { percentile } from './bench';
import type { Row } from './bench';

const EVENTS = 1_000;
const ROUNDS = 200;

/** Time to read an event log of 1,000 events: parse, replay, compare with the quoted PCRs, describe each event. Target: under 100 ms. */
export function run(): Promise<Row[]> {
  const boot = bootEvents();
  // Most events of a real log are commands of GRUB's.
  const commands = Array.from({ length: EVENTS - boot.length }, (_, at) => grubEvent('grub_cmd', `[ x${at} = x ]`));
  const events = [...boot, ...commands];
  const log = encodeEventLog(events);
  const pcrs = pcrsOf(events);
  const samples: number[] = [];
  for (let round = -20; round < ROUNDS; round++) {
    const start = process.hrtime.bigint();
    const { contradicted, unreadable } = readMeasuredBoot(pcrs, log);
    if (contradicted.length > 0 || unreadable !== undefined) throw new Error('expected a log that leads to its PCRs');
    if (round >= 0) samples.push(Number(process.hrtime.bigint() - start) / 1e6);
  }
  return Promise.resolve([
    { name: `a log of ${EVENTS} events, p50`, value: percentile(samples, 0.5), unit: 'ms' },
    {
      name: `a log of ${EVENTS} events, p99`,
      value: percentile(samples, 0.99),
      unit: 'ms',
      note: 'target: under 100 ms',
    },
  ]);
}
