import { Machine, PASSWORD } from '../support/machine';
import { clockOff, machineOff } from '../support/wrong-clock';

const BY = '+400d';

test('a first start by a clock that is ahead is mended by putting that right', async () => {
  const off = machineOff(BY);
  if (!off) return;
  const machine = new Machine();
  try {
    await machine.startService([], {}, { under: off.under, fromNothing: true });
    Object.assign(machine.env, clockOff(BY));
    await machine.signUpAndLogin('ada');
    expect((await machine.sls(['exec', '-q', 'true'])).code).toBe(0);
    await machine.stopService();

    for (const name of Object.keys(clockOff(BY))) delete machine.env[name];
    await machine.startService();
    // Who was there before goes on, and whoever is new begins.
    const before = await machine.sls(['exec', '-q', 'true']);
    expect({ code: before.code, stderr: before.stderr }).toMatchObject({ code: 0 });
    expect((await machine.sls(['audit', 'check'])).code).toBe(0);
    const bob = { env: machine.elsewhere('bob'), stdin: `${PASSWORD}\n` };
    for (const args of [['signup', '--username', 'bob', '--password-stdin'], ['login'], ['exec', '-q', 'true']]) {
      const { code, stderr } = await machine.sls(args, bob);
      expect({ args, code, stderr }).toMatchObject({ args, code: 0 });
    }
  } finally {
    await machine.remove();
    off.remove();
  }
});
