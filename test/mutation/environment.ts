import Environment from '../support/jest/environment';

/** The environment of the mutation run: hands the mutant at work to the sandbox, and skips what is left of a file once a test failed. */
export default class MutationEnvironment extends Environment {
  private hasFailed = false;

  override async setup(): Promise<void> {
    await super.setup();
    this.global['mutation'] = (globalThis as Record<string, unknown>)['mutation'];
  }

  override handleTestEvent(event: Parameters<Environment['handleTestEvent']>[0]): void {
    const { name, test } = event;
    if (name === 'test_done' && test && test.errors.length > 0) this.hasFailed = true;
    else if (name === 'test_start' && test && this.hasFailed) test.mode = 'skip';
  }
}
