import { randomBytes, randomUUID } from 'node:crypto';
import { ClosedSeats } from '../../../enclave/session/closed-seats';
import type { Identity } from '../../../enclave/identity';
import { makeIdentity } from '../../../enclave/identity';
import { TestClock } from '../../support/clock';
import { TRUST_DOMAIN } from '../../support/evidence';

const GRACE_SECONDS = 900;
let identity: Identity;
beforeAll(async () => {
  identity = await makeIdentity(TRUST_DOMAIN);
});

const clock = new TestClock();
let closed: ClosedSeats;
beforeEach(() => {
  closed = new ClosedSeats({
    trustDomain: TRUST_DOMAIN,
    privateKey: identity.privateKey,
    graceSeconds: GRACE_SECONDS,
    clock,
  });
});
const close = (seconds: number): string => {
  const seat = randomUUID();
  closed.add({ seat, tlsExporter: randomBytes(32), expiresAt: Math.floor(clock.now() / 1000) + seconds });
  return seat;
};
const listed = (): string[] => closed.list().map(({ seat }) => seat);

test('what is said of a closed seat is kept while that may count: until its last token has ended, and its grace', async () => {
  const seat = close(60);
  await clock.advance((60 + GRACE_SECONDS - 1) * 1000);
  expect(listed()).toEqual([seat]);
  await clock.advance(3_000);
  expect(listed()).toEqual([]);
});

test('the newest are kept of more than a client is told of', () => {
  const seats = Array.from({ length: 40 }, () => close(60));
  expect(listed()).toEqual(seats.slice(-32));
});
