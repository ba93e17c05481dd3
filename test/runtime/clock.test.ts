import { at, every, isYounger, systemClock } from '../../runtime/clock';
import { TestClock } from '../support/clock';

const DAY = 86_400_000;

describe('systemClock', () => {
  afterEach(() => jest.useRealTimers());

  test('waits longer than a timer of Node.js can', () => {
    jest.useFakeTimers();
    const happened = jest.fn();
    systemClock.after(60 * DAY, happened);
    jest.advanceTimersByTime(60 * DAY - 1);
    expect(happened).not.toHaveBeenCalled();
    jest.advanceTimersByTime(1);
    expect(happened).toHaveBeenCalledTimes(1);
  });

  test('calls off what is to happen, also in the second part of a long wait', () => {
    jest.useFakeTimers();
    const happened = jest.fn();
    const timer = systemClock.after(60 * DAY, happened);
    jest.advanceTimersByTime(30 * DAY);
    timer.cancel();
    jest.advanceTimersByTime(60 * DAY);
    expect(happened).not.toHaveBeenCalled();
  });

  test("a sleep ends with its signal's reason", async () => {
    const controller = new AbortController();
    const sleeping = systemClock.sleep(DAY, controller.signal);
    controller.abort(new Error('enough'));
    await expect(sleeping).rejects.toThrow('enough');
    await expect(systemClock.sleep(DAY, controller.signal)).rejects.toThrow('enough');
  });
});

describe('every', () => {
  test('goes on until it is cancelled, also when the work cancels it', async () => {
    const clock = new TestClock();
    let times = 0;
    const timer = every(clock, 1_000, () => {
      times += 1;
      if (times === 3) timer.cancel();
    });
    await clock.advance(2_999);
    expect(times).toBe(2);
    await clock.advance(10_000);
    expect(times).toBe(3);
    expect(clock.waits).toEqual([]);
  });
});

describe('the clock of tests', () => {
  test('does what is due in its order, at its time', async () => {
    const clock = new TestClock(0);
    const seen: string[] = [];
    clock.after(20, () => seen.push(`b ${clock.now()}`));
    clock.after(10, () => {
      seen.push(`a ${clock.now()}`);
      clock.after(5, () => seen.push(`in between ${clock.now()}`));
    });
    await clock.advance(30);
    expect(seen).toEqual(['a 10', 'in between 15', 'b 20']);
    expect(clock.now()).toBe(30);
  });

  test('is set without anything coming sooner or later by it', async () => {
    const clock = new TestClock(0);
    const happened = jest.fn();
    clock.after(10, happened);
    clock.set(DAY);
    await clock.advance(9);
    expect(happened).not.toHaveBeenCalled();
    expect([clock.now(), clock.monotonic()]).toEqual([DAY + 9, 9]);
    await clock.advance(1);
    expect(happened).toHaveBeenCalledTimes(1);
  });

  test('says when something waits for it, and for how long', async () => {
    const clock = new TestClock();
    const waiting = clock.untilWaiting(2);
    const controller = new AbortController();
    const sleeping = clock.sleep(50, controller.signal);
    clock.after(20, () => undefined);
    await waiting;
    expect(clock.waits).toEqual([20, 50]);
    controller.abort(new Error('enough'));
    await expect(sleeping).rejects.toThrow('enough');
    expect(clock.waits).toEqual([20]);
  });
});

describe('at', () => {
  test('comes half a minute late at most after a clock was put ahead, and not before its time after it was put back', async () => {
    const clock = new TestClock();
    const happened = jest.fn();
    at(clock, clock.now() + DAY, happened);
    clock.set(clock.now() + DAY);
    await clock.advance(30_000);
    expect(happened).toHaveBeenCalledTimes(1);

    const later = jest.fn();
    const time = clock.now() + 60_000;
    at(clock, time, later);
    clock.set(clock.now() - 60_000);
    await clock.advance(119_000);
    expect(later).not.toHaveBeenCalled();
    await clock.advance(31_000);
    expect(later).toHaveBeenCalledTimes(1);
    expect(clock.waits).toEqual([]);
  });

  test('is called off, also after it has looked', async () => {
    const clock = new TestClock();
    const happened = jest.fn();
    const timer = at(clock, clock.now() + DAY, happened);
    await clock.advance(90_000);
    timer.cancel();
    expect(clock.waits).toEqual([]);
  });

  test('of a time that has passed comes at once', async () => {
    const clock = new TestClock();
    const happened = jest.fn();
    at(clock, clock.now() - DAY, happened);
    await clock.advance(0);
    expect(happened).toHaveBeenCalledTimes(1);
  });
});

test('isYounger: not of what is older, nor of what a clock that was put back says is of later than now', () => {
  const clock = new TestClock();
  const made = clock.now();
  expect(isYounger(clock, made, 1_000)).toBe(true);
  clock.set(made + 1_000);
  expect(isYounger(clock, made, 1_000)).toBe(false);
  clock.set(made - 1);
  expect(isYounger(clock, made, 1_000)).toBe(false);
});
