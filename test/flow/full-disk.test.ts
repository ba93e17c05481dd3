import { spawnSync } from 'node:child_process';
import { built } from '../support/built';
import { eventually } from '../support/eventually';
import { Machine, PASSWORD } from '../support/machine';
import { mountSmallDisk } from '../support/small-disk';

const MIB = 1024 * 1024;

test.each([
  ['none at all', 0],
  ['some for keys', 64 * 1024],
  ['some for a TPM', 2 * MIB],
])('a first start with no room, or %s: one line that says what and where', async (_, room) => {
  const machine = new Machine();
  const disk = mountSmallDisk(8 * MIB, machine.server());
  try {
    if (!disk) return;
    disk.fillUnseen(room);
    const { code, stderr } = await machine.sls(['up']);
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining(machine.server()) as string });
    expect(stderr).not.toContain('[object Object]');
    expect(stderr).toMatch(/(^|\n)sls: .*(no space left|No space left|swtpm_setup failed).*(\nhint: .*)?\n$/);
  } finally {
    await machine.stopService();
    disk?.remove();
    await machine.remove();
  }
});

test('a disk that becomes full ends no program, and nothing that was acknowledged is lost', async () => {
  const machine = new Machine();
  const disk = mountSmallDisk(160 * MIB, machine.server());
  try {
    if (!disk) return;
    await machine.startService([], { LOG_LEVEL: 'debug' });
    await machine.signUpAndLogin('ada');
    const programs = ['signup.cjs', 'login.cjs', 'enrol.cjs', 'admin.cjs', 'attestor-daemon.cjs'];
    const pids = (): number[] => programs.map((name) => machine.pidOf(name));
    const before = pids();
    const acknowledged = ['ada'];
    const signUp = async (username: string): Promise<number | null> => {
      const { code } = await machine.sls(['signup', '--username', username, '--password-stdin'], {
        stdin: `${PASSWORD}\n`,
        env: machine.elsewhere(username),
      });
      if (code === 0) acknowledged.push(username);
      return code;
    };
    const logIn = (username: string) =>
      machine.sls(['login', '--username', username, '--password-stdin'], {
        stdin: `${PASSWORD}\n`,
        env: machine.elsewhere(username),
      });
    disk.fill();
    for (let user = 0; user < 8; user++) {
      expect([0, 6]).toContain(await signUp(`full-${user}`));
      expect([0, 6]).toContain((await logIn('ada')).code);
    }
    expect(pids()).toEqual(before);
    disk.empty();
    await eventually(async () => (await signUp('after')) === 0);
    expect(pids()).toEqual(before);
    await machine.stopService();
    await machine.startService();
    for (const username of acknowledged) {
      const { code, stderr } = await logIn(username);
      expect({ username, code, stderr }).toMatchObject({ username, code: 0 });
    }
  } finally {
    await machine.stopService();
    disk?.remove();
    await machine.remove();
  }
});

test.each(['attestor-daemon', 'enclave', 'signup', 'login', 'enrol', 'admin', 'reaper'])(
  '%s whose log can not be written ends as it would otherwise',
  (name) => {
    const check = (redirection: string): number | null =>
      spawnSync('sh', ['-c', `exec "$0" "$@" ${redirection}`, process.execPath, built(name), '--check'], {
        env: { PATH: process.env['PATH'] },
      }).status;
    expect(check('2>/dev/full')).toBe(check('2>/dev/null'));
  },
);
