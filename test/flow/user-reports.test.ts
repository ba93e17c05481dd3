import { spawn } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { built } from '../support/built';
import { eventually } from '../support/eventually';
import { Machine } from '../support/machine';

const SCRIPT = resolve(__dirname, '../../scripts/user-reports');

let machine: Machine;
beforeAll(() => {
  machine = new Machine();
  // Some cases are those of a user without rights, who has to get there.
  chmodSync(machine.folder, 0o755);
});
afterAll(() => machine.remove());

function reports(args: string[], env: Record<string, string>): Promise<{ code: number | null; lines: string[] }> {
  const child = spawn(SCRIPT, args, {
    env: { ...machine.env, TMPDIR: machine.folder, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  return new Promise((done) => child.once('close', (code) => done({ code, lines: stdout.trimEnd().split('\n') })));
}

test('what users of such tools reported: each case is as it should be, on a service of its own', async () => {
  const { code, lines } = await reports([], { SLS_PROGRAM: built('sls') });
  expect({ code, failed: lines.filter((line) => !/^(ok|skip) \d/.test(line)) }).toEqual({ code: 0, failed: [] });
  // Of those that a machine of tests can have.
  if (process.geteuid?.() === 0)
    expect(lines.filter((line) => line.startsWith('skip')).map((line) => line.split(' ')[1])).toEqual([
      // A cluster.
      '13.1',
      // An older service.
      '20.6',
    ]);
}, 1_800_000);

test('a case that is not as it should be fails, says what it expected and got, and leaves nothing behind; the script ends with 1', async () => {
  await machine.startService();
  const { SLS_TRUST = '', SLS_TRUST_FINGERPRINT = '' } = machine.elsewhere('any');
  const program = machine.path('sls-that-loses-variables');
  writeFileSync(
    program,
    `#!/bin/sh\ncase "$*" in "exec -q -e A=1 env" | "trust add https://"*) exit 3;; esac\nexec '${built('sls')}' "$@"\n`,
    {
      mode: 0o755,
    },
  );
  const { code, lines } = await reports(['3.4', '10.2', '20.5', '12'], {
    SLS_TRUST,
    SLS_TRUST_FINGERPRINT,
    SLS_PROGRAM: program,
  });
  expect({ code, lines }).toEqual({
    code: 1,
    lines: [
      'FAIL 3.4 -e takes one variable, and leaves the command alone: expected status 0, got 3 (nothing)',
      'FAIL 10.2 HTTPS_PROXY and all_proxy are taken, HTTP_PROXY is not: expected status 6, got 3 (nothing)',
      'skip 12.1 a killed attestor under load leaves nothing that only a person can repair: the service was not started here',
      'ok 20.5 a trust bundle of a later release says that it is one',
    ],
  });
  // The case had begun a listener.
  await eventually(() => !machine.processes().some(({ command }) => command.includes('listen.mjs')));
});
