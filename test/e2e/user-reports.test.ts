import { spawn } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { resolve } from 'node:path';
import { built } from '../support/built';
import { forgetLimits, kubectl, SERVICES } from './support/cluster';
import { INSTALLER } from './support/install';
import { Person } from './support/person';

const administrator = new Person();
afterAll(() => administrator.leave());

test('what users of such tools reported: each case that applies is as it should be, in a cluster', async () => {
  const { machine } = administrator;
  const folder = machine.path('administrator');
  await administrator.do(['admin', 'certificate', '--namespace', SERVICES, '--name', 'reports', '--out', folder], {
    env: { KUBECONFIG: process.env['KUBECONFIG'] ?? '' },
  });
  const address = await kubectl(['get', 'ksvc', 'admin', '-n', SERVICES, '-o', 'jsonpath={.status.url}']);
  await forgetLimits();
  // Some cases run as a user who owns nothing.
  chmodSync(machine.folder, 0o755);
  const child = spawn(resolve(__dirname, '../../scripts/user-reports'), {
    env: {
      ...machine.env,
      TMPDIR: machine.folder,
      SLS_PROGRAM: built('sls'),
      REPORTS_INSTALLER: INSTALLER,
      KUBECONFIG: process.env['KUBECONFIG'] ?? '',
      REPORTS_ADMIN: `--address ${address.trim()} --admin-certificate ${folder}/certificate.pem --admin-key ${folder}/key.pem`,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  const code = await new Promise((done) => child.once('close', done));
  const lines = stdout.trimEnd().split('\n');
  expect({ code, failed: lines.filter((line) => !/^(ok|skip) \d/.test(line)) }).toEqual({ code: 0, failed: [] });
  expect(lines.filter((line) => line.startsWith('ok')).length).toBeGreaterThan(40);
}, 1_800_000);
