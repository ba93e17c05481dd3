import { makeIdentity } from '../../enclave/identity';
import { ATTESTOR, enclavePods, eventually, kubectl } from './support/cluster';
import { Person } from './support/person';
import { askAttestor, startProbe, stopProbe } from './support/probe';

// A login service in wrong hands certifies a client of its own, enters the user's enclave, and runs commands there. Here the user runs them.
const victim = new Person();
let certificate: Buffer;
beforeAll(async () => {
  certificate = (await makeIdentity('sls.local')).certificate;
  await startProbe();
  await victim.signup();
  await victim.login();
});
afterAll(async () => {
  await stopProbe();
  await victim.leave();
});

const inEnclave = async (script: string): Promise<string> =>
  (await victim.sls(['exec', '--', 'sh', '-c', script])).stdout;
/** Commands are of the same user as the enclave's program, and Kubernetes gives a pod's token to that. */
const stolenToken = (): Promise<string> => inEnclave('cat /run/identity/token');

test("a command reaches neither environment nor memory nor files of the enclave's program", async () => {
  const names = ['environ', 'maps', 'mem', 'auxv', 'exe', 'fd/0', 'task/$PPID/environ'];
  const script = names.map((name) => `head -c 1 /proc/$PPID/${name} >/dev/null 2>&1 && echo ${name}`).join('; ');
  expect(await inEnclave(`${script}; ls /proc/$PPID/fd 2>&1 | grep -v denied; echo end`)).toBe('end\n');
});

test('a signal from a command opens no debugger', async () => {
  const script = 'kill -USR1 $PPID; for i in 1 2 3 4 5; do sleep 0.1; cat /proc/self/net/tcp; done';
  expect(await inEnclave(script)).not.toMatch(/0100007F:240D/i);
  expect(await inEnclave('echo ok')).toBe('ok\n');
});

test('the token is not handed out as a file', async () => {
  expect((await victim.sls(['cp', 'enclave:/run/identity/token', '-'])).stderr).toContain("the enclave's own");
});

test('while the enclave has its stream, its token opens no second one', async () => {
  expect(await askAttestor(await stolenToken(), certificate)).toEqual({ code: 'attestor.stream_open' });
});

test('its token makes no evidence for another key when the attestor starts anew, and when the container does', async () => {
  const { claims } = await victim.status();
  const token = await stolenToken();
  // What can't reach the attestor has no code of the attestor's.
  const refused = /^(attestor\.(stream_open|certificate_changed|not_ready)|rpc\.)/;
  const tryOften = async (times: number): Promise<string[]> => {
    const codes: string[] = [];
    for (let at = 0; at < times; at++) {
      const answer = await askAttestor(token, certificate);
      expect(answer.claims).toBeUndefined();
      codes.push(answer.code ?? '');
      expect(answer.code).toMatch(refused);
    }
    return codes;
  };
  await kubectl([
    'delete',
    'pod',
    '-n',
    ATTESTOR,
    '-l',
    'app.kubernetes.io/component=attestor',
    '--grace-period=0',
    '--force',
  ]);
  await tryOften(15);
  await eventually('the enclave is attested again', () => victim.login().then(() => true), 90);
  // The container ends with its program, and another one starts in the same pod.
  await inEnclave('kill -KILL $PPID');
  const [pod] = await enclavePods(claims.user);
  expect(pod?.metadata.uid).toBe(claims.workload);
  expect(await tryOften(15)).toContain('attestor.certificate_changed');
  await eventually('a new enclave takes its place', () => victim.login().then(() => true), 120);
  expect((await victim.status()).claims.workload).not.toBe(claims.workload);
  expect(await inEnclave('echo ok')).toBe('ok\n');
});
