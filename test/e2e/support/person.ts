import { randomBytes } from 'node:crypto';
import { Machine, PASSWORD } from '../../support/machine';
import type { Ended, RunOptions } from '../../support/machine';
import { setting } from './settings';

/** What `sls status --json` says. */
export interface Status {
  user: string;
  enclave: { workload: string; node: string; endpoint: string };
  claims: { user: string; workload: string; node: string; image: string; certificate: string };
}

/** Somebody with a machine of their own and `sls`, somewhere outside of the cluster. */
export class Person {
  readonly machine = new Machine();
  readonly password = PASSWORD;
  private signedUp = false;

  /** @param username of an account that is there already, on another machine */
  constructor(readonly username = `e2e-${randomBytes(5).toString('hex')}`) {
    for (const name of ['SLS_TRUST', 'SLS_TRUST_FINGERPRINT']) this.machine.env[name] = setting(name);
    // Test clusters have no TLS at their ingress; where one has, nothing is sent in plain text anyway.
    this.machine.env['SLS_ALLOW_PLAINTEXT'] = '1';
  }

  sls(args: string[], options?: RunOptions): Promise<Ended> {
    return this.machine.sls(args, options);
  }

  /** @throws Error with what sls said, unless it ended well */
  async do(args: string[], options?: RunOptions): Promise<Ended> {
    const ended = await this.sls(args, options);
    if (ended.code !== 0) throw new Error(`sls ${args.join(' ')} ended with ${ended.code}: ${ended.stderr}`);
    return ended;
  }

  /** Once: a test that is tried again finds its people signed up. */
  async signup(): Promise<void> {
    if (this.signedUp) return;
    await this.do(['signup', '--username', this.username, '--password-stdin'], { stdin: `${PASSWORD}\n` });
    this.signedUp = true;
  }

  login(...args: string[]): Promise<Ended> {
    return this.do(['login', '--username', this.username, '--password-stdin', ...args], { stdin: `${PASSWORD}\n` });
  }

  /** What the saved session's evidence says. */
  async status(): Promise<Status> {
    return JSON.parse((await this.do(['status', '--json'])).stdout) as Status;
  }

  leave(): Promise<void> {
    return this.machine.remove();
  }
}
