import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { built } from '../../support/built';
import { Machine, PASSWORD } from '../../support/machine';

let machine: Machine;
afterAll(() => machine.remove());

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
}

test('no password, token, private key or data of the user in any log at any level, nor in argv or an environment', async () => {
  machine = new Machine();
  const trace = { LOG_LEVEL: 'trace' };
  const talk: string[] = [];
  const service = await machine.startService([], trace);
  service.stderr?.on('data', (text: string) => talk.push(text));
  service.stdout?.on('data', (text: string) => talk.push(text));
  const data = 'data-that-only-the-enclave-may-see';
  writeFileSync(machine.path('file'), data);
  const commands: Array<[string[], string]> = [
    [['signup', '--username', 'ada', '--password-stdin'], `${PASSWORD}\n`],
    [['admin', 'licence', 'issue', '--plan', 'team', '--days', '1', '--reason', 'test', '--out', 'team.licence'], ''],
    [['redeem', 'team.licence'], ''],
    [['licence', 'show', 'team.licence'], ''],
    [['login'], ''],
    [['login', '--username', 'ada', '--password-stdin', '--verbose'], `${PASSWORD}\n`],
    [['login', '--username', 'ada', '--password-stdin'], `wrong ${PASSWORD}\n`],
    [['exec', '-v', '--', 'sh', '-c', 'cat >/dev/null'], data],
    [['cp', 'file', 'enclave:file'], ''],
    [['status', '--connect'], ''],
  ];
  const tokens: string[] = [];
  const seen: string[] = [];
  const watch = setInterval(() => seen.push(...commandLines(machine)), 20);
  for (const [args, stdin] of commands) {
    const { code, stdout, stderr } = await machine.sls(args, { stdin, env: trace });
    expect({ args, code, stderr }).toEqual({ args, code: stdin.startsWith('wrong') ? 4 : 0, stderr });
    talk.push(stdout, stderr);
    for (const name of ['token.json', 'session.json']) tokens.push(...secretsOf(machine.path('state', 'sls', name)));
  }
  clearInterval(watch);
  expect(seen.length).toBeGreaterThan(0);

  tokens.push(readFileSync(machine.path('team.licence'), 'utf8').trim());
  const keys = filesUnder(machine.server('keys')).flatMap(secretsOf);
  const attestor = filesUnder(machine.server('attestor'))
    .map((file) => readFileSync(file, 'utf8').trim())
    .filter((text) => /^(hex:)?[0-9a-f]{64}$/.test(text));
  expect(attestor).not.toEqual([]);
  const secrets = [...new Set([PASSWORD, data, ...tokens, ...keys, ...attestor])];
  expect(secrets.length).toBeGreaterThan(10);

  const logs = filesUnder(machine.server('log'));
  expect(logs.length).toBeGreaterThanOrEqual(5);
  for (const file of logs) talk.push(readFileSync(file, 'utf8'));
  const leaks = secrets.filter((secret) => [...talk, ...seen].some((text) => text.includes(secret)));
  expect(leaks).toEqual([]);
  // The search itself finds what is there.
  expect(talk.some((text) => text.includes('"level":20'))).toBe(true);

  const open = [machine.server(), machine.path('state', 'sls')].flatMap(filesUnder).filter((file) => {
    const inWorkspace = file.startsWith(machine.server('workspaces'));
    return (
      !inWorkspace &&
      !file.endsWith('trust-bundle.json') &&
      statSync(file).mode & 0o077 &&
      !privateAbove(file, machine.folder)
    );
  });
  expect(open).toEqual([]);
});

/** Arguments and environments of everything that runs on the machine. */
function commandLines(of: Machine): string[] {
  return of.processes().map(({ pid, command }) => {
    try {
      return `${command} ${readFileSync(`/proc/${pid}/environ`, 'utf8')}`;
    } catch {
      return command;
    }
  });
}

/** Access tokens, PEM key bodies, private members of JWKs. */
function secretsOf(file: string): string[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return [];
  }
  const tokens = text.match(/eyJ[\w-]+\.[\w-]+\.[\w-]+/g) ?? [];
  const keys = [...text.matchAll(/-----BEGIN PRIVATE KEY-----(?:\\n|\n)([A-Za-z0-9+/]{40,})/g)].map(
    (match) => match[1] as string,
  );
  const jwks = [...text.matchAll(/"d":\s*"([\w-]{20,})"/g)].map((match) => match[1] as string);
  return [...tokens, ...keys, ...jwks];
}

/** True when a folder between shuts others out. */
function privateAbove(file: string, root: string): boolean {
  for (let folder = join(file, '..'); folder.length > root.length; folder = join(folder, '..')) {
    if ((statSync(folder).mode & 0o077) === 0) return true;
  }
  return false;
}

test('the command line offers no way to put a secret into argv', () => {
  for (const command of ['login', 'redeem']) {
    const help = execFileSync(process.execPath, [built('sls'), command, '--help'], {
      encoding: 'utf8',
    });
    expect(help).not.toMatch(/--(password|token|key)[ =<]/);
  }
});
