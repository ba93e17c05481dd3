import { systemClock } from '../runtime/clock';
import type { Clock, Timer } from '../runtime/clock';

/** Calls back once nobody has been connected for a while. */
export class IdleTimer {
  private connections = 0;
  private timer: Timer | undefined;

  /** @param milliseconds 0: never */
  constructor(
    private readonly milliseconds: number,
    private readonly onIdle: () => void,
    private readonly clock: Clock = systemClock,
  ) {
    this.touch();
  }

  enter(): void {
    this.connections += 1;
    this.stop();
  }

  leave(): void {
    this.connections -= 1;
    this.touch();
  }

  /** Starts the wait anew. */
  touch(): void {
    this.stop();
    if (this.milliseconds > 0 && this.connections === 0) this.timer = this.clock.after(this.milliseconds, this.onIdle);
  }

  stop(): void {
    this.timer?.cancel();
  }
}
