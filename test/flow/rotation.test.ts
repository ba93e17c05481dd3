import { readFileSync } from 'node:fs';
import { connect, login } from '../../client/index';
import type { Session, TrustBundle } from '../../client/index';
import { splitCertificates } from '../../attestation/certificates/pem';
import { verifyAttestationKeyChain } from '../../attestation/certificates/attestation-key';
import { eventually } from '../support/eventually';
import { Machine, PASSWORD } from '../support/machine';

let machine: Machine;
beforeAll(async () => {
  machine = new Machine();
  await machine.startService();
  for (const username of ['ada', 'grace', 'linus']) {
    const { code, stderr } = await machine.sls(['signup', '--username', username, '--password-stdin'], {
      stdin: `${PASSWORD}\n`,
    });
    if (code !== 0) throw new Error(stderr);
  }
});
afterAll(() => machine.remove());

/** For reading, it is there without a signature. */
const bundle = (): TrustBundle => JSON.parse(readFileSync(machine.server('trust-bundle.json'), 'utf8')) as TrustBundle;

/** A person who logs in again and again, by password and by token, and connects each time. */
class Person {
  logins = 0;
  readonly failures: string[] = [];
  trust = bundle();
  last: Session | undefined;
  private running: Promise<void> | undefined;
  private stopped = false;

  constructor(private readonly username: string) {}

  start(): void {
    this.running = this.run();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.running;
  }

  private async run(): Promise<void> {
    const onTrust = (newer: TrustBundle): TrustBundle => (this.trust = newer);
    while (!this.stopped) {
      try {
        const byToken = this.last !== undefined && this.logins % 3 !== 0;
        const credential = byToken
          ? { accessToken: this.last!.accessToken }
          : { username: this.username, password: PASSWORD };
        const session = await login(this.trust, { credential, onTrust });
        const connection = await connect(this.trust, session, { onTrust });
        connection.close();
        this.last = session;
        this.logins += 1;
      } catch (error) {
        const { name, message, code } = error as Error & { code?: string };
        this.failures.push(`${new Date().toISOString()} ${name} ${code ?? ''} ${message}`);
      }
    }
  }
}

async function rotate(what: string, ...flags: string[]): Promise<{ signsFrom: string }> {
  const { code, stdout, stderr } = await machine.sls(['admin', 'rotate', what, '--json', ...flags]);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as { signsFrom: string };
}

test('every key is rotated under load, and no login fails', async () => {
  const people = ['ada', 'grace', 'linus'].map((username) => new Person(username));
  for (const person of people) person.start();
  const before = bundle();
  for (const what of ['token-key', 'client-ca', 'revocation-key', 'attestation-ca']) {
    const { signsFrom } = await rotate(what);
    // Through the moment at which the new key begins to sign, and some logins after it.
    await eventually(() => Date.now() > Date.parse(signsFrom));
    const counts = people.map(({ logins }) => logins);
    await eventually(() => people.every(({ logins, failures }, at) => logins > counts[at]! + 2 || failures.length > 0));
    expect({ what, failures: people.flatMap(({ failures }) => failures) }).toEqual({ what, failures: [] });
  }
  await Promise.all(people.map((person) => person.stop()));
  expect(people.flatMap(({ failures }) => failures)).toEqual([]);
  for (const { logins } of people) expect(logins).toBeGreaterThan(5);

  // The load was on the new keys in the end, and clients took the new bundle by themselves.
  expect(bundle().sequence).toBe(before.sequence + 2);
  for (const { trust } of people) expect(trust.sequence).toBe(bundle().sequence);
  const keys = JSON.parse(readFileSync(machine.server('keys', 'token-keys.json'), 'utf8')) as {
    keys: Array<{ kid: string }>;
  };
  const header = JSON.parse(Buffer.from(people[0]!.last!.accessToken.split('.')[0]!, 'base64url').toString()) as {
    kid: string;
  };
  expect(header.kid).toBe(keys.keys[0]!.kid);
});

test('an attestor that enrols again gets its certificate from the new attestation CA, and everyone believes it', async () => {
  const [newest] = splitCertificates(readFileSync(machine.server('keys', 'attestation-ca.crt'), 'utf8'));
  const person = new Person('ada');
  const evidence = async (): Promise<Buffer[]> => {
    const session = await login(person.trust, { credential: { username: 'ada', password: PASSWORD } });
    (await connect(person.trust, session)).close();
    return session.evidence.akCertificates;
  };
  expect(() => verifyAttestationKeyChain([], [newest!], new Date())).toThrow();
  const old = await evidence();
  expect(() => verifyAttestationKeyChain(old, [newest!], new Date())).toThrowWithCode('certificate.untrusted');

  machine.renewAttestationKey();
  const certificates = await eventually(async () => {
    const found = await evidence().catch(() => undefined);
    return found && !found[0]!.equals(old[0]!) && found;
  });
  verifyAttestationKeyChain(certificates, [newest!], new Date());
});

test('after a theft of the token key, no token of the old one is worth anything; a password is', async () => {
  const trust = bundle();
  const session = await login(trust, { credential: { username: 'ada', password: PASSWORD } });
  await rotate('token-key', '--compromised');
  // Once the replica has read the new keys.
  const refusal = await eventually(() =>
    login(trust, { credential: { accessToken: session.accessToken } }).then(
      () => undefined,
      (error: { code: string }) => error,
    ),
  );
  expect(refusal).toMatchObject({ code: 'login.token_invalid' });
  await login(trust, { credential: { username: 'ada', password: PASSWORD } });
});
