import { bootStateSchema } from '../../../attestation/boot/state';

const HASH = 'ab'.repeat(32);
const STATE = { name: 'debian-12', pcrs: { 0: HASH } };
const EVENT = { pcr: 0, type: 'EV_ACTION', sha256: HASH, description: 'Start' };
const withEvent = (change: object): object => ({ ...STATE, events: [{ ...EVENT, ...change }] });
const takes = (state: object): boolean => bootStateSchema.safeParse(state).success;

test.each<[string, object]>([
  ['the least that there is', STATE],
  ['the last PCR', { name: 'a', pcrs: { 15: HASH } }],
  ['a name of 64 characters', { ...STATE, name: 'a'.repeat(64) }],
  ['an event', withEvent({})],
  ['an event of the last PCR', withEvent({ pcr: 15 })],
  ['a line of 2,100 characters', withEvent({ description: 'x'.repeat(2100) })],
  ['1,024 events', { ...STATE, events: Array(1024).fill(EVENT) }],
  ['a field of a newer release', { ...STATE, extra: 1 }],
  ['such a field of an event', withEvent({ extra: 1 })],
])('a golden state with %s is taken', (_, state) => {
  expect(takes(state)).toBe(true);
});

test.each<[string, object]>([
  ['no PCR', { name: 'a', pcrs: {} }],
  ['a PCR of no value', { name: 'a', pcrs: { 0: undefined } }],
  ['a PCR that is no boot measurement', { name: 'a', pcrs: { 23: HASH } }],
  ['such a PCR beside another one', { name: 'a', pcrs: { 0: HASH, 23: HASH } }],
  ['a short value', { name: 'a', pcrs: { 0: 'ab' } }],
  ['a value with something before it', { name: 'a', pcrs: { 0: `0x${HASH}` } }],
  ['a value with something behind it', { name: 'a', pcrs: { 0: `${HASH}00` } }],
  ['a value in capitals, which would never be met', { name: 'a', pcrs: { 0: HASH.toUpperCase() } }],
  ['a name of two lines', { ...STATE, name: 'a\nb' }],
  ['a name that begins with a dash', { ...STATE, name: '-a' }],
  ['a name of 65 characters', { ...STATE, name: 'a'.repeat(65) }],
  ['an event of a PCR below the first', withEvent({ pcr: -1 })],
  ['an event of a PCR behind the last', withEvent({ pcr: 16 })],
  ['an event of half a PCR', withEvent({ pcr: 0.5 })],
  ['a description with control characters', withEvent({ description: '\x1b[2J' })],
  ['a description of two lines', withEvent({ description: 'Start\nPCR 0 is fine' })],
  ['a line of 2,101 characters', withEvent({ description: 'x'.repeat(2101) })],
  ['1,025 events', { ...STATE, events: Array(1025).fill(EVENT) }],
])('a golden state with %s is refused', (_, state) => {
  expect(takes(state)).toBe(false);
});
