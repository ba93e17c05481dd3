import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fingerprint } from '../../attestation/trust/public-key';
import { signTrustBundle } from '../../attestation/trust/signed-bundle';
import type { LoginRequest } from '../../proto/gen/licensing/v1/login';
import { startLyingService } from '../support/lying-service';
import type { LyingService } from '../support/lying-service';
import { Machine, PASSWORD } from '../support/machine';
import type { Ended } from '../support/machine';
import { makeSigningKey } from '../support/trust';

jest.setTimeout(240_000);

const MALLORY = 'mallory has a password';
const machine = new Machine();
/** The login service, in wrong hands: it can do what any user can, and answers others with what comes of it. */
let liar: LyingService;
let shown: string;

beforeAll(async () => {
  await machine.startService();
  shown = await fingerprint(machine.trustBundle().trustKey);
  liar = await startLyingService(machine.trustBundle());
  await machine.signBundle('liar.jws', { services: liar.trust.services });
  for (const [username, password] of [
    ['mallory', MALLORY],
    ['ada', PASSWORD],
  ])
    await well(machine.sls(['signup', '--username', username!, '--password-stdin'], { stdin: `${password}\n` }));
});
afterEach(() => {
  delete liar.asks['Login'];
});
afterAll(async () => {
  await liar.stop();
  await machine.remove();
});

async function well(ended: Promise<Ended>): Promise<string> {
  const { code, stderr, stdout } = await ended;
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.anything() as string });
  return `${stdout}${stderr}`;
}
const sessionFile = (): string => machine.path('state', 'sls', 'session.json');
const saved = (): string => readFileSync(sessionFile(), 'utf8');
const isSaved = (): boolean => {
  try {
    return saved() !== '';
  } catch {
    return false;
  }
};
const asAda = (...args: string[]): Promise<Ended> =>
  machine.sls(['login', '--username', 'ada', '--password-stdin', '--trust', 'liar.jws', ...args], {
    stdin: `${PASSWORD}\n`,
  });
/** Whoever asks is logged in as Mallory: with their own key, nonce and certificate request. */
const answerAsMallory = (): void => {
  liar.asks['Login'] = (request: LoginRequest): LoginRequest => ({
    ...request,
    credential: { $case: 'password', value: { username: 'mallory', password: MALLORY, knownSession: '' } },
  });
};
const REFUSED = { code: 5, stderr: expect.stringContaining('identity.user') as string };

describe('a login service that answers as another user', () => {
  beforeAll(async () => {
    await well(asAda('--trust-fingerprint', shown));
  });

  test('gets nobody to go on with its session: `sls login` by the saved one refuses it, and keeps nothing of it', async () => {
    const before = saved();
    answerAsMallory();
    expect(await machine.sls(['login', '--trust', 'liar.jws'])).toMatchObject(REFUSED);
    expect(saved()).toBe(before);
  });

  test('nor does a command that logs in again by itself', async () => {
    await well(asAda());
    for (const { pid, command } of machine.processes())
      if (command.includes('enclave.cjs')) process.kill(pid, 'SIGKILL');
    answerAsMallory();
    const before = saved();
    expect(await machine.sls(['exec', 'cat'], { stdin: 'data of hers' })).toMatchObject(REFUSED);
    expect(saved()).toBe(before);
  });

  test('a login by password says loudly that the user is another than last time', async () => {
    expect(await well(asAda())).not.toContain('HAS CHANGED');
    answerAsMallory();
    const { stderr } = await asAda('--quiet');
    expect(stderr).toMatch(/warning: THE USER ID OF ada HAS CHANGED since the last login.*expected \S+, got \S+/);
    delete liar.asks['Login'];
    expect((await asAda('--quiet')).stderr).toContain('HAS CHANGED');
    expect((await asAda('--quiet')).stderr).not.toContain('HAS CHANGED');
    await well(machine.sls(['logout']));
  });
});

describe('an installation that is trusted no longer', () => {
  const other = makeSigningKey('trust');
  /** Of other logins, which have nothing to do with this machine's. */
  let others: number;
  const sessionsOfAda = async (): Promise<number> => {
    const env = machine.elsewhere('watcher');
    const { stdout } = await machine.sls(['sessions', 'list', '--json'], { env });
    return (JSON.parse(stdout) as unknown[]).length;
  };
  beforeAll(async () => {
    writeFileSync(
      machine.path('other.jws'),
      await signTrustBundle({ ...machine.trustBundle(), trustKey: other.publicKey }, other.privateKey),
    );
    const env = machine.elsewhere('watcher');
    await well(machine.sls(['login', '--username', 'ada', '--password-stdin'], { env, stdin: `${PASSWORD}\n` }));
  });
  beforeEach(async () => {
    rmSync(machine.path('state', 'sls', 'trust'), { recursive: true, force: true });
    rmSync(machine.path('config'), { recursive: true, force: true });
    await well(machine.sls(['trust', 'add', machine.server('trust-bundle.jws'), '--fingerprint', shown]));
    others = await sessionsOfAda();
    await well(machine.sls(['login', '--username', 'ada', '--password-stdin'], { stdin: `${PASSWORD}\n` }));
    expect(await sessionsOfAda()).toBe(others + 1);
  });

  test('`trust remove` names the sessions that it ends, and asks; without a terminal it takes --yes', async () => {
    const asked = await machine.sls(['trust', 'remove']);
    expect(asked).toMatchObject({ code: 2, stderr: expect.stringContaining('ada, enclave default') as string });
    expect(asked.stderr).toContain('--yes');
    expect(isSaved()).toBe(true);
    expect(await well(machine.sls(['trust', 'remove', '--yes']))).toContain('ada, enclave default');
    expect(isSaved()).toBe(false);
    expect(await sessionsOfAda()).toBe(others);
  });

  test('where another one is pinned, its session is ended at the next command, which says so', async () => {
    writeFileSync(machine.path('config', 'sls', 'trust-bundle.jws'), readFileSync(machine.path('other.jws')));
    const ended = await machine.sls(['exec', '--', 'cat'], { stdin: 'data of hers' });
    expect(ended).toMatchObject({ code: 4, stdout: '', stderr: expect.stringContaining('is ended') as string });
    expect(ended.stderr).toContain(shown);
    expect(ended.stderr).toContain(await fingerprint(other.publicKey));
    expect(isSaved()).toBe(false);
    expect(await sessionsOfAda()).toBe(others);
    expect(await machine.sls(['exec', 'true'])).toMatchObject({
      code: 4,
      stderr: expect.stringContaining('not logged in') as string,
    });
  });

  test('a session of an installation that was named by --trust stays where another one is pinned, until its key is no longer trusted', async () => {
    const named = ['--trust', machine.server('trust-bundle.jws'), '--trust-fingerprint', shown];
    await well(machine.sls(['login', '--username', 'ada', '--password-stdin', ...named], { stdin: `${PASSWORD}\n` }));
    writeFileSync(machine.path('config', 'sls', 'trust-bundle.jws'), readFileSync(machine.path('other.jws')));
    await well(machine.sls(['exec', 'true']));
    writeFileSync(machine.path('config', 'sls', 'trust-bundle.jws'), readFileSync(machine.server('trust-bundle.jws')));
    await well(machine.sls(['trust', 'remove', '--yes']));
    expect(isSaved()).toBe(false);
  });
});
