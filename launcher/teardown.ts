import { logger } from '../runtime/log/logger';

/** Things to undo, last first. One that fails doesn't keep the others from being undone. */
export class Teardown {
  private readonly steps: Array<() => Promise<void>> = [];

  add(step: () => Promise<void>): void {
    this.steps.unshift(step);
  }

  async run(): Promise<void> {
    for (const step of this.steps.splice(0)) {
      await step().catch((err: unknown) => logger.error({ err }, 'not ended in order'));
    }
  }
}
