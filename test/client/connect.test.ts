import { PassThrough, Readable } from 'node:stream';
import { connect } from '../../client/index';
import { startEnclaveFixture } from '../support/enclave';
import type { EnclaveFixture } from '../support/enclave';

let fixture: EnclaveFixture;
beforeAll(async () => {
  fixture = await startEnclaveFixture();
});
afterAll(() => fixture.stop());

test.each([false, true])('connects, verifies and runs a command (tunnel: %s)', async (tunnel) => {
  const steps: string[] = [];
  const session = await fixture.session({ tunnel });
  const connection = await connect(fixture.trust, session, { onStep: ({ phase, step }) => steps.push(`${phase} ${step}`) });
  const stdout = new PassThrough();
  const exit = await connection.exec(['sha256sum', '-'], { stdin: Readable.from([Buffer.from('hello')]), stdout, stderr: process.stderr });
  expect(exit).toEqual({ code: 0, signal: '' });
  expect(String(stdout.read())).toMatch(/^2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 /);
  console.log(steps.join('\n'), await connection.status());
  connection.close();
  expect(await connection.closed).toBeUndefined();
});
