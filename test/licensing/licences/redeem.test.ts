import { createHmac, createPublicKey, randomUUID } from 'node:crypto';
import { Metadata, status } from '@grpc/grpc-js';
import { SignJWT, importJWK } from 'jose';
import { createAuthority } from '../../../licensing/authority/authority';
import { revoke } from '../../../licensing/revocation/store';
import { callUnary } from '../../../runtime/rpc/client';
import type { RpcError } from '../../../runtime/rpc/errors';
import type { Database } from '../../../licensing/store/database';
import { LicenceState } from '../../../proto/gen/licensing/v1/licence';
import type { RedeemLicenceRequest, RedeemLicenceResponse } from '../../../proto/gen/licensing/v1/licence';
import { recordsOf as auditOf } from '../../support/audit';
import { beginSession, writeAccountFiles } from '../../support/accounts';
import type { AccountFiles } from '../../support/accounts';
import { startEmbeddedTestPostgres } from '../../support/embedded-postgres';
import { giveLicence, insertLicence, keyOf, PLAN } from '../../support/licences';
import { licenceKey } from '../../support/login-trust';
import { migratedDatabase, noPostgres } from '../../support/postgres';
import { startReplica } from '../../support/replica';
import type { Replica } from '../../support/replica';
import { makeSigningKey } from '../../support/trust';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';

if (noPostgres !== undefined) console.warn(noPostgres);

const PASSWORD = 'correct horse battery';
const TIMEOUT = { timeout: 120_000 };

let clientCa: CertifiedKey;
let count = 0;
beforeAll(async () => {
  clientCa = await createAuthority({ commonName: 'client CA', trustDomain: 'sls.test', years: 1 });
});

/** What a call gives, or the refusal's code and status. */
function outcome<T>(call: Promise<T>): Promise<T | string> {
  return call.catch((error: RpcError) => `${error.code} ${status[error.grpcStatus]}`);
}

interface Person {
  user: string;
  username: string;
  metadata: Metadata;
}

function contract(open: () => Promise<{ url: string; stop(): Promise<void> }>): void {
  let server: { url: string; stop(): Promise<void> };
  let files: AccountFiles;
  let replicas: [Replica, Replica];
  let database: Database;

  beforeAll(async () => {
    server = await open();
    files = await writeAccountFiles(server.url);
    const noEnclave = (): Promise<never> => Promise.reject(new Error('no test here starts an enclave'));
    replicas = await Promise.all([startReplica(files, clientCa, noEnclave), startReplica(files, clientCa, noEnclave)]);
    ({ database } = replicas[0].backend);
  });
  afterAll(async () => {
    await Promise.all(replicas.map((replica) => replica.stop()));
    await files.remove();
    await server.stop();
  });

  async function person(): Promise<Person> {
    const { backend } = replicas[0];
    const username = `person${(count += 1)}`;
    const user = (await backend.accounts.create(username, await backend.hasher.hash(PASSWORD)))!;
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${(await beginSession(backend, user)).accessToken}`);
    return { user, username, metadata };
  }
  const people = (many: number): Promise<Person[]> => Promise.all(Array.from({ length: many }, person));

  const redeem = (
    metadata: Metadata | undefined,
    request: Partial<RedeemLicenceRequest>,
    at = 0,
  ): Promise<RedeemLicenceResponse> => {
    const { licences } = replicas[at % 2]!;
    return callUnary(
      licences,
      licences.redeemLicence,
      { key: '', password: undefined, oneTimeCode: '', ...request },
      { ...TIMEOUT, metadata },
    );
  };
  const own = ({ metadata }: Person) =>
    callUnary(replicas[1].licences, replicas[1].licences.listOwnLicences, {}, { ...TIMEOUT, metadata });
  const drop = ({ metadata }: Person, licence: string) =>
    callUnary(
      replicas[1].licences,
      replicas[1].licences.dropLicence,
      { licence, password: undefined, oneTimeCode: '' },
      { ...TIMEOUT, metadata },
    );
  const recordsOf = async (user: string): Promise<object[]> => {
    const records = await auditOf(database);
    return records
      .filter(({ kind, detail }) => kind.startsWith('licence.') && detail['user'] === user)
      .map(({ kind, detail }) => ({ kind, ...detail, user: undefined }));
  };

  test('a key gives its licence to the account, which is then told what it has; it is recorded, by ids alone', async () => {
    const someone = await person();
    const licence = await insertLicence(database, { plan: { cpu: '500m' } });
    const { licence: redeemed, changed } = await redeem(someone.metadata, { key: await keyOf(licence) });
    expect(changed).toBe(true);
    expect(redeemed).toMatchObject({
      licence,
      plan: { ...PLAN, cpu: '500m', memory: '', images: [] },
      state: LicenceState.LICENCE_STATE_VALID,
      applies: true,
    });
    expect(await own(someone)).toEqual({ licences: [redeemed], required: false });
    expect(await recordsOf(someone.user)).toEqual([{ kind: 'licence.redeemed', licence, again: false }]);
    const all = await auditOf(database);
    expect(JSON.stringify(all.map(({ detail }) => detail))).not.toContain(someone.username);
  });

  test('who has no session, because a first login lacks the licence, redeems by password', async () => {
    const { user, username } = await person();
    const licence = await insertLicence(database);
    const key = await keyOf(licence);
    const password = { username, password: 'wrong password', knownSession: '' };
    expect(await outcome(redeem(undefined, { key, password }))).toBe('login.wrong_credentials UNAUTHENTICATED');
    expect(await redeem(undefined, { key, password: { ...password, password: PASSWORD } })).toMatchObject({
      changed: true,
      licence: { licence },
    });
    expect(await recordsOf(user)).toHaveLength(1);
  });

  test('without token and password it is refused, and so are the other calls', async () => {
    const licence = await insertLicence(database);
    expect(await outcome(redeem(undefined, { key: await keyOf(licence) }))).toBe('login.token_missing UNAUTHENTICATED');
    const nobody = { metadata: new Metadata() } as Person;
    expect(await outcome(own(nobody))).toBe('login.token_missing UNAUTHENTICATED');
    expect(await outcome(drop(nobody, licence))).toBe('login.token_missing UNAUTHENTICATED');
  });

  test('of twenty accounts that redeem one key for three at once, on two replicas, three get it', async () => {
    const licence = await insertLicence(database, { accounts: 3 });
    const key = await keyOf(licence);
    const outcomes = await Promise.all(
      (await people(20)).map(({ metadata }, index) => outcome(redeem(metadata, { key }, index))),
    );
    expect(outcomes.filter((each) => typeof each !== 'string')).toHaveLength(3);
    expect(outcomes.filter((each) => each === 'licence.full FAILED_PRECONDITION')).toHaveLength(17);
    expect(
      await database.query('SELECT user_id FROM licence_redemptions WHERE licence_id = $1', [licence]),
    ).toHaveLength(3);
  });

  test('one account that redeems a key many times at once has it once', async () => {
    const someone = await person();
    const licence = await insertLicence(database, { accounts: 5 });
    const key = await keyOf(licence);
    const outcomes = await Promise.all(
      Array.from({ length: 10 }, (_, index) => redeem(someone.metadata, { key }, index)),
    );
    expect(outcomes.filter(({ changed }) => changed)).toHaveLength(1);
    expect((await own(someone)).licences).toHaveLength(1);
    expect(
      await database.query('SELECT user_id FROM licence_redemptions WHERE licence_id = $1', [licence]),
    ).toHaveLength(1);
  });

  test('a full one is refused, until someone gives theirs back or is deleted', async () => {
    const [first, second, third] = (await people(3)) as [Person, Person, Person];
    const licence = await insertLicence(database);
    const key = await keyOf(licence);
    await redeem(first.metadata, { key });
    expect(await outcome(redeem(second.metadata, { key }, 1))).toBe('licence.full FAILED_PRECONDITION');
    expect(await recordsOf(second.user)).toEqual([{ kind: 'licence.refused', licence, code: 'licence.full' }]);
    await drop(first, licence);
    expect(await recordsOf(first.user)).toContainEqual({ kind: 'licence.dropped', licence });
    expect(await redeem(second.metadata, { key }, 1)).toMatchObject({ changed: true });
    expect(await outcome(redeem(first.metadata, { key }))).toBe('licence.full FAILED_PRECONDITION');
    await database.query('DELETE FROM accounts WHERE id = $1', [second.user]);
    expect(await redeem(third.metadata, { key })).toMatchObject({ changed: true });
    // Who redeemed what stays recorded.
    expect(await recordsOf(second.user)).toHaveLength(2);
  });

  test('who is kept out by one gives it back by password', async () => {
    const { user, username } = await person();
    const licence = await insertLicence(database, { untilSeconds: -10 });
    await giveLicence(database, licence, user);
    const by = (password: string) =>
      callUnary(
        replicas[0].licences,
        replicas[0].licences.dropLicence,
        { licence, password: { username, password, knownSession: '' }, oneTimeCode: '' },
        TIMEOUT,
      );
    expect(await outcome(by('wrong password'))).toBe('login.wrong_credentials UNAUTHENTICATED');
    expect(await by(PASSWORD)).toEqual({});
    expect(await recordsOf(user)).toEqual([{ kind: 'licence.dropped', licence }]);
  });

  test('one that the account does not have is not given back, and someone else keeps theirs', async () => {
    const [holder, other] = (await people(2)) as [Person, Person];
    const licence = await insertLicence(database);
    await giveLicence(database, licence, holder.user);
    for (const id of [licence, randomUUID(), '../x', ''])
      expect(await outcome(drop(other, id))).toBe('licence.not_held NOT_FOUND');
    expect((await own(holder)).licences).toHaveLength(1);
  });

  test('one that was revoked is refused, and recorded', async () => {
    const { user, metadata } = await person();
    const licence = await insertLicence(database);
    await database.query(
      `UPDATE licences SET revoked_at = now(), revoked_by = 'ada', revoked_reason = 'x' WHERE id = $1`,
      [licence],
    );
    expect(await outcome(redeem(metadata, { key: await keyOf(licence) }))).toBe('licence.revoked FAILED_PRECONDITION');
    expect(await recordsOf(user)).toEqual([{ kind: 'licence.refused', licence, code: 'licence.revoked' }]);
  });

  test('one that has expired is refused by its key, and by the record where the key says otherwise; its grace days are for who has it', async () => {
    const { user, metadata } = await person();
    const over = await insertLicence(database, { untilSeconds: -60, graceSeconds: 3600 });
    const past = new Date(Math.floor(Date.now() / 1000) * 1000 - 60_000);
    const now = new Date(Date.now() - 3_600_000);
    expect(await outcome(redeem(metadata, { key: await keyOf(over, { until: past }, { now }) }))).toBe(
      'licence.expired FAILED_PRECONDITION',
    );
    expect(await outcome(redeem(metadata, { key: await keyOf(over) }))).toBe('licence.expired FAILED_PRECONDITION');
    expect(await recordsOf(user)).toEqual([
      { kind: 'licence.refused', code: 'licence.expired' },
      { kind: 'licence.refused', licence: over, code: 'licence.expired' },
    ]);
  });

  test('one that was signed but never issued is refused: a stolen licence key makes no licences', async () => {
    const { metadata } = await person();
    expect(await outcome(redeem(metadata, { key: await keyOf(randomUUID()) }))).toBe(
      'licence.unknown FAILED_PRECONDITION',
    );
  });

  test('a forged key is refused, whatever is forged, and recorded', async () => {
    const { user, metadata } = await person();
    const licence = await insertLicence(database);
    const claims = JSON.parse(Buffer.from((await keyOf(licence)).split('.')[1]!, 'base64url').toString()) as Record<
      string,
      unknown
    >;
    const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const by = async (
      { privateKey }: ReturnType<typeof makeSigningKey>,
      header: object = {},
      change: object = {},
    ): Promise<string> =>
      new SignJWT({ ...claims, ...change })
        .setProtectedHeader({ alg: 'ES256', typ: 'sls-licence+jwt', kid: 'licence', ...header })
        .sign(await importJWK(privateKey, 'ES256'));
    const mac = `${encode({ alg: 'HS256', typ: 'sls-licence+jwt', kid: 'licence' })}.${encode(claims)}`;
    const pem = createPublicKey({ key: licenceKey.publicKey, format: 'jwk' }).export({ format: 'pem', type: 'spki' });
    const forgeries: Array<[string, string]> = [
      ['licence.algorithm', `${encode({ alg: 'none', typ: 'sls-licence+jwt', kid: 'licence' })}.${encode(claims)}.`],
      ['licence.algorithm', `${mac}.${createHmac('sha256', pem).update(mac).digest('base64url')}`],
      ['licence.signature', await by(makeSigningKey())],
      ['licence.unknown_key', await by(makeSigningKey(), { kid: 'other' })],
      ['licence.type', await by(licenceKey, { typ: 'at+jwt' })],
      ['licence.audience', await by(licenceKey, {}, { aud: 'sls' })],
      ['licence.issuer', await by(licenceKey, {}, { iss: 'https://other.test' })],
      ['licence.claims', await by(licenceKey, {}, { plan: {} })],
      ['licence.malformed', 'x'],
      ['licence.malformed', ''],
    ];
    for (const [code, key] of forgeries)
      expect(await outcome(redeem(metadata, { key }))).toBe(`${code} INVALID_ARGUMENT`);
    expect((await own({ metadata } as Person)).licences).toEqual([]);
    expect(await recordsOf(user)).toEqual(forgeries.map(([code]) => ({ kind: 'licence.refused', code })));
    expect(await redeem(metadata, { key: await by(licenceKey) })).toMatchObject({ changed: true });
  });

  test('who shows forged keys without end fills no record, and nobody else is held up', async () => {
    const [someone, other] = (await people(2)) as [Person, Person];
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, index) => outcome(redeem(someone.metadata, { key: 'x' }, index))),
    );
    expect(answers.filter((each) => each === 'licence.limited RESOURCE_EXHAUSTED')).toHaveLength(20);
    expect(await recordsOf(someone.user)).toHaveLength(20);
    expect(await outcome(redeem(other.metadata, { key: 'x' }))).toBe('licence.malformed INVALID_ARGUMENT');
    // A good key is no guess.
    expect(await redeem(someone.metadata, { key: await keyOf(await insertLicence(database)) })).toMatchObject({
      changed: true,
    });
  });

  test.each([
    ['redeems one key again and again', async () => insertLicence(database), ['licence.redeemed']],
    [
      'shows the key of a full licence again and again',
      async (): Promise<string> => {
        const full = await insertLicence(database);
        await giveLicence(database, full, (await person()).user);
        return full;
      },
      ['licence.refused'],
    ],
  ])('who %s fills no record', async (_what, issue, kinds) => {
    const someone = await person();
    const key = await keyOf(await issue());
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, index) => outcome(redeem(someone.metadata, { key }, index))),
    );
    expect(answers.filter((each) => each === 'licence.limited RESOURCE_EXHAUSTED')).toHaveLength(20);
    const records = (await recordsOf(someone.user)) as Array<{ kind: string }>;
    expect({ count: records.length, kinds: [...new Set(records.map(({ kind }) => kind))] }).toEqual({
      count: 20,
      kinds,
    });
  });

  test('who redeems a licence and gives it back in turns fills no record', async () => {
    const someone = await person();
    const licence = await insertLicence(database);
    const key = await keyOf(licence);
    for (let turn = 0; turn < 12; turn += 1) {
      await outcome(redeem(someone.metadata, { key }));
      await outcome(drop(someone, licence));
    }
    expect(await recordsOf(someone.user)).toHaveLength(20);
    expect(await outcome(drop(someone, licence))).toBe('licence.limited RESOURCE_EXHAUSTED');
  });

  test('the one redeemed last applies; redeeming one again makes it that', async () => {
    const someone = await person();
    const [first, second] = [await insertLicence(database), await insertLicence(database)];
    for (const licence of [first, second]) await redeem(someone.metadata, { key: await keyOf(licence) });
    const applying = async (): Promise<string[]> =>
      (await own(someone)).licences.filter(({ applies }) => applies).map(({ licence }) => licence);
    expect(await applying()).toEqual([second]);
    expect(await redeem(someone.metadata, { key: await keyOf(first) })).toMatchObject({ changed: false });
    expect(await applying()).toEqual([first]);
  });

  test('who is revoked redeems nothing', async () => {
    const { user, metadata } = await person();
    await revoke(database, { kind: 'user', subject: user, revokedBy: 'ada', reason: 'x' });
    expect(await outcome(redeem(metadata, { key: await keyOf(await insertLicence(database)) }))).toBe(
      'login.revoked UNAUTHENTICATED',
    );
  });
}

describe('redeeming, on the embedded PostgreSQL', () => contract(startEmbeddedTestPostgres));
(noPostgres === undefined ? describe : describe.skip)("redeeming, on Debian's PostgreSQL", () =>
  contract(migratedDatabase),
);
