import { appendFileSync, readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { TestEnvironment } from 'jest-environment-node';
import { sharedCluster } from '../cluster';
import { lookAtDevices } from './devices';
import { HeldOutput } from './held-output';

type Options = ConstructorParameters<typeof TestEnvironment>;

/** The parts of jest-circus's events that are used here. */
interface CircusEvent {
  name: string;
  test?: { name: string; mode?: string | null; errors: unknown[] };
  error?: unknown;
}

/** Processor seconds of this process, and of its children that have ended (proc_pid_stat(5): 14 to 17, in ticks of 10 ms). */
function processorSeconds(): number {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks) / 100, 0);
}

/**
 * What all test files of a jest worker share lives here, outside their sandboxes: the database cluster. What they log is printed for a test that fails.
 * With SLS_TEST_COSTS each test file's processor time is appended to that file. A test file that replaced a device of this machine has failed.
 */
export default class Environment extends TestEnvironment {
  private readonly output = new HeldOutput();
  private readonly file: string;
  private readonly before = processorSeconds();
  private readonly devices = lookAtDevices();

  constructor(...[config, context]: Options) {
    super(config, context);
    this.file = relative(config.projectConfig.rootDir, context.testPath);
  }

  override async setup(): Promise<void> {
    await super.setup();
    this.global['sharedCluster'] = sharedCluster;
    this.global['holdOutput'] = (text: string) => this.output.add(text);
    this.output.start();
  }

  override async teardown(): Promise<void> {
    this.output.stop();
    const costs = process.env['SLS_TEST_COSTS'];
    if (costs) appendFileSync(costs, `${(processorSeconds() - this.before).toFixed(2)} ${this.file}\n`);
    await super.teardown();
    const devices = lookAtDevices();
    if (devices !== this.devices)
      throw new Error(`expected the devices of this machine to stay as they were:\n${this.devices}\ngot:\n${devices}`);
  }

  handleTestEvent({ name, test, error }: CircusEvent): void {
    if (name === 'test_done' && test) {
      if (test.errors.length > 0) this.output.print(`${this.file}: ${test.name}`);
      else this.output.clear();
    } else if (name === 'hook_failure') {
      this.output.print(`${this.file}: a hook (${String(error)})`);
    }
  }
}
