/** Calls back once nobody has been connected for a while. */
export class IdleTimer {
  private connections = 0;
  private timer: NodeJS.Timeout | undefined;

  /** @param milliseconds 0: never */
  constructor(
    private readonly milliseconds: number,
    private readonly onIdle: () => void,
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
    if (this.milliseconds > 0 && this.connections === 0) this.timer = setTimeout(this.onIdle, this.milliseconds);
  }

  stop(): void {
    clearTimeout(this.timer);
  }
}
