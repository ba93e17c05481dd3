import { every, systemClock } from '../../runtime/clock';
import type { Clock, Timer } from '../../runtime/clock';

/** From SIGTERM to SIGKILL. */
const GRACE_MS = 2_000;
const POLL_MS = 50;
/** How often the groups of commands that have ended are looked at for what they left in the background. */
const SWEEP_MS = 5_000;

/**
 * Every command that runs here, by its process group, and its end. Where this program is killed, the container takes the commands along, or
 * whoever started it does: see MARK in program.ts.
 */
export class Commands {
  private readonly groups = new Set<number>();
  /** Those whose leader runs: their number is nobody else's. */
  private readonly led = new Set<number>();
  /** Those whose caller waits, for the command or for what it left. */
  private readonly running = new Set<number>();
  private readonly killing = new Set<Promise<void>>();
  /** Those that ran when everything was ended. */
  private readonly stopped = new Set<number>();
  private readonly sweep: Timer;

  constructor(private readonly clock: Clock = systemClock) {
    this.sweep = every(clock, SWEEP_MS, () => this.forgetEmpty());
  }

  get count(): number {
    return this.running.size;
  }

  /** @param group id of the process group that the command leads */
  started(group: number): void {
    this.running.add(group);
    this.led.add(group);
    this.groups.add(group);
  }

  /** The command itself has ended. */
  exited(group: number): void {
    this.led.delete(group);
    this.forgetEmpty();
  }

  /** Nobody waits for it any more. What it left in the background may live until this program ends, as after `nohup`. */
  ended(group: number): void {
    this.running.delete(group);
  }

  /** Sends a signal to the command and everything in its group. */
  signal(group: number, name: NodeJS.Signals): void {
    if (this.groups.has(group)) send(group, name);
  }

  /** SIGTERM, then SIGKILL for what does not take it. */
  kill(group: number): Promise<void> {
    const killing = this.killGroup(group).finally(() => this.killing.delete(killing));
    this.killing.add(killing);
    return killing;
  }

  /** Until what is being killed is dead. */
  async killed(): Promise<void> {
    while (this.killing.size > 0) await Promise.all(this.killing);
  }

  /** True of a command that ended because this program does, whatever it made of its signal. */
  wasStopped(group: number): boolean {
    return this.stopped.has(group);
  }

  /** Ends everything. */
  async stop(): Promise<void> {
    this.sweep.cancel();
    for (const group of this.led) this.stopped.add(group);
    await Promise.all([...this.groups].map((group) => this.kill(group)));
  }

  private async killGroup(group: number): Promise<void> {
    this.signal(group, 'SIGTERM');
    const deadline = this.clock.monotonic() + GRACE_MS;
    while (isAlive(group) && this.clock.monotonic() < deadline) await this.clock.sleep(POLL_MS);
    this.signal(group, 'SIGKILL');
  }

  /** A group's number may become somebody else's once it is empty. */
  private forgetEmpty(): void {
    for (const group of this.groups) {
      if (this.led.has(group) || isAlive(group)) continue;
      this.groups.delete(group);
    }
  }
}

function send(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-group, signal);
  } catch {
    return false;
  }
}

function isAlive(group: number): boolean {
  return send(group, 0);
}
