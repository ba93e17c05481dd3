import { X509Certificate } from 'node:crypto';
import { enrolSettings } from '../../../functions/enrol/settings';
import {
  issueAttestationKeyCertificate,
  MAX_ATTESTATION_KEY_CERTIFICATE_DAYS,
} from '../../../licensing/authority/attestation-key';
import { MAX_CLIENT_CERTIFICATE_SECONDS } from '../../../licensing/authority/client';
import { currentlyRevoked, isAnyRevoked, revoke } from '../../../licensing/revocation/store';
import type { RevocationKind } from '../../../licensing/revocation/store';
import { openDatabase } from '../../../licensing/store/database';
import type { Database } from '../../../licensing/store/database';
import { migrate } from '../../../licensing/store/migrate';
import { migrations } from '../../../licensing/store/migrations';
import { makeFakeTpm } from '../../support/evidence';
import { testDatabase } from '../../support/postgres';
import type { TestDatabase } from '../../support/postgres';

const DAY = 86_400;
const LISTED = { node: 'nodes', ak: 'aks', ek: 'eks', user: 'users' } as const;
const KEYS: RevocationKind[] = ['node', 'ak', 'ek'];

let server: TestDatabase;
let database: Database;
beforeAll(async () => {
  server = await testDatabase();
  database = openDatabase(server.url, { poolSize: 2 });
  await migrate(database, migrations);
});
afterAll(async () => {
  await database.close();
  await server.stop();
});
beforeEach(() => database.query('DELETE FROM revocations'));

/** Ids of users are UUIDs. */
const userOf = (seconds: number): string => `00000000-0000-4000-8000-${String(seconds).padStart(12, '0')}`;

/** Whether it stands in the list, so long after it was revoked. */
async function isListed(kind: RevocationKind, seconds: number): Promise<boolean> {
  const subject = kind === 'user' ? userOf(seconds) : `${kind}-${seconds}`;
  await revoke(database, { kind, subject, revokedBy: 'test', reason: 'test' });
  await database.query('UPDATE revocations SET revoked_at = now() - make_interval(secs => $2) WHERE subject = $1', [
    subject,
    seconds,
  ]);
  expect(await isAnyRevoked(database, [[kind, subject]])).toBe(true);
  return ((await currentlyRevoked(database))[LISTED[kind]] ?? []).includes(subject);
}

/** Of CERTIFICATE_DAYS: the least, the default, what was forgotten too soon, the most. */
const SETTINGS = [1, 7, 11, 90];

test.each(KEYS.flatMap((kind) => SETTINGS.map((days) => [kind, days] as const)))(
  'a revoked %s stays in the list while a certificate of %i days lives',
  async (kind, days) => {
    expect(enrolSettings.shape.CERTIFICATE_DAYS.parse(String(days))).toBe(days);
    expect(await isListed(kind, days * DAY)).toBe(true);
    // Issued by a replica that heard of it a little later.
    expect(await isListed(kind, days * DAY + 3_600)).toBe(true);
  },
);

test('no setting and no caller lets a certificate outlive what lists remember', async () => {
  const { authority, akPublic, node } = await makeFakeTpm();
  const issue = (days: number): Promise<Buffer> =>
    issueAttestationKeyCertificate({
      ca: authority,
      trustDomain: 'sls.test',
      node,
      akPublic,
      details: { ekSha256: 'ab'.repeat(32), manufacturer: 'x', model: 'x', firmware: 'x', software: true },
      days,
    });
  expect(() => enrolSettings.shape.CERTIFICATE_DAYS.parse('91')).toThrow();
  for (const days of [91, 0, NaN, Infinity]) await expect(issue(days)).rejects.toThrow(TypeError);
  const ends = Date.parse(new X509Certificate(await issue(MAX_ATTESTATION_KEY_CERTIFICATE_DAYS)).validTo);
  expect(ends).toBeLessThanOrEqual(Date.now() + 90 * DAY * 1000);
});

test('a revoked user stays in the list while a client certificate lives', async () => {
  expect(await isListed('user', MAX_CLIENT_CERTIFICATE_SECONDS)).toBe(true);
  expect(await isListed('user', MAX_CLIENT_CERTIFICATE_SECONDS + 3_600)).toBe(true);
});

test.each([...KEYS.map((kind) => [kind, 92 * DAY] as const), ['user', 3 * DAY] as const])(
  'a revoked %s leaves the list when nothing of it lives any more, and gets nothing new',
  async (kind, seconds) => {
    expect(await isListed(kind, seconds)).toBe(false);
  },
);

test('the user who is asked about is named however long ago they were revoked', async () => {
  expect(await isListed('user', 400 * DAY)).toBe(false);
  expect((await currentlyRevoked(database, userOf(400 * DAY))).users).toEqual([userOf(400 * DAY)]);
});
