import { Misuse } from '../../../runtime/rpc/misuse';
import { TestClock } from '../../support/clock';

const clock = new TestClock();
let misuse: Misuse;
beforeEach(() => (misuse = new Misuse(10, clock)));

const misuseTimes = (count: number, address = 'mallory'): boolean[] =>
  Array.from({ length: count }, () => misuse.isTooMuch(address));

test('one more than there may be at once closes the address, and no other', () => {
  expect(misuseTimes(10)).not.toContain(true);
  expect(misuse.isClosedTo('mallory')).toBe(false);
  expect(misuseTimes(1)).toEqual([true]);
  expect(misuse.isClosedTo('mallory')).toBe(true);
  expect(misuse.isClosedTo('alice')).toBe(false);
  expect(misuseTimes(10, 'alice')).not.toContain(true);
});

test('as many again in ten seconds are nothing', async () => {
  for (let round = 0; round < 5; round += 1) {
    expect(misuseTimes(10)).not.toContain(true);
    await clock.advance(10_000);
  }
  await clock.advance(60_000);
});

test('each time that it comes back to go on it is closed for twice as long, up to a minute; who was quiet begins anew', async () => {
  const closedFor = async (): Promise<number> => {
    while (!misuse.isTooMuch('mallory'));
    let seconds = 0;
    for (; misuse.isClosedTo('mallory'); seconds += 1) await clock.advance(1_000);
    return seconds;
  };
  const closed = [];
  for (let time = 0; time < 6; time += 1) closed.push(await closedFor());
  expect(closed).toEqual([5, 10, 20, 40, 60, 60]);
  await clock.advance(10_000);
  expect(await closedFor()).toBe(5);
});

test('what happens while it is closed makes that no longer', async () => {
  misuseTimes(11);
  await clock.advance(4_000);
  expect(misuseTimes(1_000)).not.toContain(false);
  await clock.advance(1_000);
  expect(misuse.isClosedTo('mallory')).toBe(false);
});
