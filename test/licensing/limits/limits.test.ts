import { credentials, Metadata, status } from '@grpc/grpc-js';
import { createAuthority } from '../../../licensing/authority/authority';
import { callUnary } from '../../../runtime/rpc/client';
import type { RpcError } from '../../../runtime/rpc/errors';
import type { Enclave } from '../../../functions/login/launcher/launcher';
import { AccountServiceClient } from '../../../proto/gen/licensing/v1/account';
import { LoginServiceClient } from '../../../proto/gen/licensing/v1/login';
import { beginSession, TRUST_DOMAIN, writeAccountFiles } from '../../support/accounts';
import type { AccountFiles } from '../../support/accounts';
import { startEmbeddedTestPostgres } from '../../support/embedded-postgres';
import { startEnclaveEndpoint } from '../../support/enclave-endpoint';
import { byPassword, logIn, loginRequest, newClientKey } from '../../support/login-client';
import type { ClientKey } from '../../support/login-client';
import { migratedDatabase, noPostgres } from '../../support/postgres';
import { startRelay } from '../../support/relay';
import { startReplica } from '../../support/replica';
import type { Replica } from '../../support/replica';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';

if (noPostgres !== undefined) console.warn(noPostgres);

const password = 'correct horse battery';
const PER_ACCOUNT = 5;
const PER_ADDRESS = 12;
const SIGNUPS = 3;
const limits = {
  LOGIN_FAILURES_PER_ACCOUNT: PER_ACCOUNT,
  LOGIN_FAILURES_PER_ADDRESS: PER_ADDRESS,
  SIGNUPS_PER_ADDRESS: SIGNUPS,
};
/** 127.0.0.9 is the only proxy. */
const PROXY = '127.0.0.9';

const WRONG = 'login.wrong_credentials UNAUTHENTICATED';
const LIMITED = 'login.limited RESOURCE_EXHAUSTED';

function contract(open: () => Promise<{ url: string; stop(): Promise<void> }>): void {
  let server: { url: string; stop(): Promise<void> };
  let files: AccountFiles;
  let clientCa: CertifiedKey;
  let key: ClientKey;
  let replicas: Replica[];
  const enclaves = new Map<string, Enclave>();
  const ends: Array<() => Promise<void> | void> = [];
  let nextAddress = 10;

  beforeAll(async () => {
    server = await open();
    files = await writeAccountFiles(server.url);
    clientCa = await createAuthority({ commonName: 'client CA', trustDomain: TRUST_DOMAIN, years: 1 });
    key = await newClientKey();
    const enclaveOf = (user: string): Promise<Enclave> => Promise.resolve(enclaves.get(user) as Enclave);
    replicas = await Promise.all(
      [0, 1].map(() => startReplica(files, clientCa, enclaveOf, { limits, proxies: `${PROXY}, 10.0.0.0/8` })),
    );
  });

  afterAll(async () => {
    for (const end of ends) await end();
    await Promise.all(replicas.map((replica) => replica.stop()));
    await files.remove();
    await server.stop();
  });

  /** A machine with an address of its own, that of a caller nobody has seen yet unless it is given. */
  async function machine(address = `127.0.1.${nextAddress++}`): Promise<{
    login(
      username: string,
      secret: string,
      options?: { at?: number; known?: string; forwarded?: string[] },
    ): Promise<string>;
    message(username: string, secret: string): Promise<string>;
    signUp(username: string): Promise<string>;
  }> {
    const relays = await Promise.all(replicas.map(({ port }) => startRelay(port, address)));
    const logins = relays.map(({ port }) => new LoginServiceClient(`127.0.0.1:${port}`, credentials.createInsecure()));
    const accounts = relays.map(
      ({ port }) => new AccountServiceClient(`127.0.0.1:${port}`, credentials.createInsecure()),
    );
    ends.push(async () => {
      for (const client of [...logins, ...accounts]) client.close();
      await Promise.all(relays.map((relay) => relay.stop()));
    });
    const said = (error: RpcError): string => `${error.code} ${status[error.grpcStatus]}`;
    const attempt = (
      username: string,
      secret: string,
      { at = 0, known = '', forwarded = [] as string[] } = {},
    ): Promise<unknown> => {
      const metadata = new Metadata();
      for (const value of forwarded) metadata.add('x-forwarded-for', value);
      return logIn(logins[at]!, loginRequest(key, byPassword(username, secret, known)), { metadata });
    };
    return {
      login: (username, secret, options) => attempt(username, secret, options).then(() => 'logged in', said),
      message: (username, secret) =>
        attempt(username, secret).then(
          () => '',
          (error: RpcError) => error.message,
        ),
      signUp: (username) =>
        callUnary(accounts[0]!, accounts[0]!.signUp, { username, password, clientName: '' }, { timeout: 120_000 }).then(
          () => 'signed up',
          said,
        ),
    };
  }

  async function person(username: string): Promise<string> {
    const { backend } = replicas[0]!;
    const user = (await backend.accounts.create(username, await backend.hasher.hash(password)))!;
    const endpoint = await startEnclaveEndpoint({ user, clientCa: clientCa.certificate });
    ends.push(() => endpoint.stop());
    enclaves.set(user, endpoint.location);
    return user;
  }

  test("Lockout as a weapon: whoever fails a victim's login locks out their own address; the victim logs in from another", async () => {
    await person('victim');
    const [attacker, victim] = [await machine(), await machine()];
    for (let i = 0; i < PER_ACCOUNT; i++)
      expect(await attacker.login('victim', 'guess guess', { at: i % 2 })).toBe(WRONG);
    for (const at of [0, 1]) {
      // Not even the right one is looked at.
      expect(await attacker.login('victim', password, { at })).toBe(LIMITED);
      expect(await victim.login('victim', password, { at })).toBe('logged in');
    }
  });

  test('a client with a session that is known is never held up by others at its address, and has a count of its own', async () => {
    const user = await person('known');
    const { refreshToken } = await beginSession(replicas[0]!.backend, user);
    const other = await beginSession(replicas[0]!.backend, await person('stranger'));
    const shared = await machine();
    for (let i = 0; i < PER_ACCOUNT; i++) await shared.login('known', 'guess guess');
    expect(await shared.login('known', password)).toBe(LIMITED);
    for (const known of [other.refreshToken, `${refreshToken}x`, 'x'])
      expect(await shared.login('known', password, { known })).toBe(LIMITED);
    expect(await shared.login('known', password, { known: refreshToken, at: 1 })).toBe('logged in');
    for (let i = 0; i < PER_ACCOUNT; i++)
      expect(await shared.login('known', 'guess guess', { known: refreshToken })).toBe(WRONG);
    expect(await shared.login('known', 'guess guess', { known: refreshToken, at: 1 })).toBe(LIMITED);
  });

  test('guesses at many accounts from one address are limited together, whether the accounts exist or not', async () => {
    const spray = await machine();
    const answers: string[] = [];
    for (let i = 0; i < PER_ADDRESS + 3; i++)
      answers.push(await spray.login(i % 2 ? `nobody${i}` : 'victim', 'guess guess', { at: i % 2 }));
    const wrong = answers.filter((answer) => answer === WRONG).length;
    expect({ wrong, rest: answers.length - wrong }).toEqual({ wrong: PER_ADDRESS, rest: 3 });
    expect(answers.at(-1)).toBe(LIMITED);
  });

  test('of guesses at once, on two replicas, no more are looked at than the limit allows', async () => {
    const flood = await machine();
    const answers = await Promise.all(
      Array.from({ length: 30 }, (_, i) => flood.login('victim', `guess guess ${i}`, { at: i % 2 })),
    );
    expect(answers.filter((answer) => answer === WRONG)).toHaveLength(PER_ACCOUNT);
    expect(answers.filter((answer) => answer === LIMITED)).toHaveLength(30 - PER_ACCOUNT);
  });

  test('right passwords count for nothing, however many come at once', async () => {
    await person('busy');
    const lab = await machine();
    for (let i = 0; i < PER_ADDRESS + 2; i++)
      expect(await lab.login('busy', password, { at: i % 2 })).toBe('logged in');
  });

  test('the refusal says for how long, and it ends by then', async () => {
    await person('patient');
    const here = await machine();
    for (let i = 0; i < PER_ACCOUNT; i++) await here.login('patient', 'guess guess');
    const message = await here.message('patient', password);
    const [, seconds] = /try again in (\d+) seconds?$/.exec(message) ?? [];
    expect(Number(seconds)).toBeGreaterThan(30);
    expect(Number(seconds)).toBeLessThanOrEqual(300 / PER_ACCOUNT);
    await replicas[0]!.backend.database.query(`UPDATE limits SET at = at - make_interval(secs => ${seconds})`);
    expect(await here.login('patient', password)).toBe('logged in');
  });

  test('an unknown account is limited as a known one is: by status and words nobody learns which there are', async () => {
    await person('there');
    const [one, two] = [await machine(), await machine()];
    for (let i = 0; i < PER_ACCOUNT; i++) {
      expect(await one.login('there', 'guess guess')).toBe(WRONG);
      expect(await two.login('not.there', 'guess guess')).toBe(WRONG);
    }
    const words = (text: string): string => text.replace(/\d+/, 'N');
    expect(words(await one.message('there', 'guess guess'))).toBe(words(await two.message('not.there', 'guess guess')));
  });

  test('X-Forwarded-For believed: spoof it, and the limiter does not care', async () => {
    const spoofer = await machine();
    const answers: string[] = [];
    for (let i = 0; i < PER_ACCOUNT + 3; i++) {
      answers.push(
        await spoofer.login('victim', 'guess guess', {
          forwarded: i % 2 ? [`203.0.113.${i}`] : [`203.0.113.${i}`, `198.51.100.${i}`],
        }),
      );
    }
    expect(answers.filter((answer) => answer === WRONG)).toHaveLength(PER_ACCOUNT);
    expect(answers.at(-1)).toBe(LIMITED);
  });

  test('X-Forwarded-For of a trusted proxy counts from its right end; what the caller wrote before it does not', async () => {
    const proxy = await machine(PROXY);
    const through = (caller: string, spoofed: string): Promise<string> =>
      proxy.login('victim', 'guess guess', { forwarded: [`${spoofed}, ${caller}, 10.1.2.3`] });
    for (let i = 0; i < PER_ACCOUNT; i++) expect(await through('192.0.2.1', `203.0.113.${i}`)).toBe(WRONG);
    expect(await through('192.0.2.1', '203.0.113.99')).toBe(LIMITED);
    expect(await through('192.0.2.2', '192.0.2.1')).toBe(WRONG);
  });

  test('sign-ups from one address are limited, and those from another are not', async () => {
    const [one, two] = [await machine(), await machine()];
    for (let i = 0; i < SIGNUPS; i++) expect(await one.signUp(`new${i}`)).toBe('signed up');
    expect(await one.signUp('new.x')).toBe(LIMITED);
    expect(await two.signUp('new.y')).toBe('signed up');
  });

  test('neither an address nor a username stands in the table', async () => {
    const rows = await replicas[0]!.backend.database.query('SELECT key FROM limits');
    expect(rows.length).toBeGreaterThan(10);
    expect(JSON.stringify(rows)).not.toMatch(/127\.0|victim|192\.0/);
  });
}

describe('on the embedded PostgreSQL', () => contract(startEmbeddedTestPostgres));

(noPostgres === undefined ? describe : describe.skip)('on a PostgreSQL server', () => contract(migratedDatabase));
