import { spawn } from 'node:child_process';
import { built } from '../../../support/built';
import { eventually } from '../../../support/eventually';
import { Machine } from '../../../support/machine';

let machine: Machine;
beforeAll(async () => {
  machine = new Machine();
  await machine.startService();
  await machine.signUpAndLogin();
});
afterAll(() => machine.remove());

const commands = (pattern: RegExp): number => machine.processes().filter(({ command }) => pattern.test(command)).length;

test('x', async () => {
  const child = spawn('bash', ['-c', `"$0" "$1" exec -q -- yes 98765 | head -1; echo "\${PIPESTATUS[@]}"`, process.execPath, built('sls')], { cwd: machine.folder, env: machine.env, stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (t) => (out += t));
  await new Promise((d) => child.once('close', d));
  const t = Date.now();
  const e = machine.pidOf('enclave.cjs'); const { execSync } = await import('node:child_process'); for (let i = 0; i < 4; i++) { console.log(execSync('ss -tnpi | grep -A1 pid=' + e).toString(), commands(/yes 98765/)); await new Promise((r) => setTimeout(r, 1000)); }
  await eventually(() => commands(/^yes/) === 0);
  console.log('gone after', Date.now() - t);
  console.log((await machine.sls(['seats', 'list'])).stdout);
});
