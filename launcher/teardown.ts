import type { Logger } from '../runtime/log/log';

/** Things to undo, last first. One that fails doesn't keep the others from being undone. */
export class Teardown {
  private readonly steps: Array<() => Promise<void>> = [];

  constructor(private readonly log: Logger) {}

  add(step: () => Promise<void>): void {
    this.steps.unshift(step);
  }

  async run(): Promise<void> {
    for (const step of this.steps.splice(0)) {
      await step().catch((err: unknown) => this.log.error({ err }, 'not ended in order'));
    }
  }
}
