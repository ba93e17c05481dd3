import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { keepCertificates, renewCertificates } from '../../launcher/certificates';
import { createAdministration, createKeys, openInstallation, prepareFolder } from '../../launcher/installation';
import type { Installation } from '../../launcher/installation';
import { TestClock } from '../support/clock';
import { eventually } from '../support/eventually';

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

let folder: string;
let installation: Installation;
let clock: TestClock;
let said: string[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sls-certificates-'));
  installation = await openInstallation(await prepareFolder(join(folder, 'server')));
  await createKeys(installation);
  await createAdministration(installation);
  clock = new TestClock();
  said = [];
  await renewCertificates(installation, clock);
});
afterEach(() => rmSync(folder, { recursive: true }));

const certificate = (...names: string[]): X509Certificate =>
  new X509Certificate(readFileSync(installation.path(...names)));
const both = () => [certificate('keys', 'server.crt'), certificate('admin', 'certificate.pem')];
const isGood = ({ validFrom, validTo }: X509Certificate): boolean =>
  Date.parse(validFrom) <= clock.now() && Date.parse(validTo) > clock.now() + 60 * DAY;

test('certificates that are good stay', async () => {
  const before = both().map(({ raw }) => raw);
  await renewCertificates(installation, clock);
  expect(both().map(({ raw }) => raw)).toEqual(before);
});

test.each([
  ['suspended for a year', 366],
  ['put back by a year', -366],
])('a clock that was %s: within a minute both are good again, without a restart', async (_, days) => {
  const timer = keepCertificates(installation, { clock, report: (line) => said.push(line) });
  clock.set(clock.now() + days * DAY);
  expect(both().map(isGood)).toEqual([false, false]);
  await clock.advance(MINUTE);
  await eventually(() => both().every(isGood));
  timer.cancel();
  const [server] = both();
  expect(server?.checkIssued(certificate('keys', 'server-ca.crt'))).toBe(true);
  expect(said).toEqual([]);
});

test('a pair that a crash cut in two is made anew', async () => {
  const other = await openInstallation(await prepareFolder(join(folder, 'other')));
  await createKeys(other);
  await createAdministration(other);
  await renewCertificates(other, clock);
  writeFileSync(installation.path('keys', 'server.key'), readFileSync(other.path('keys', 'server.key')));
  writeFileSync(installation.path('admin', 'certificate.pem'), readFileSync(other.path('admin', 'certificate.pem')));
  await renewCertificates(installation, clock);
  const [server, admin] = both();
  expect(server?.verify(certificate('keys', 'server-ca.crt').publicKey)).toBe(true);
  expect(admin?.verify(certificate('keys', 'admin-ca.crt').publicKey)).toBe(true);
});

test('a failure is said once, and tried again', async () => {
  const key = readFileSync(installation.path('keys', 'server-ca.key'));
  rmSync(installation.path('keys', 'server-ca.key'));
  const timer = keepCertificates(installation, { clock, report: (line) => said.push(line) });
  for (let look = 0; look < 3; look++) {
    await clock.advance(MINUTE);
    await eventually(() => said.length > 0);
  }
  expect(said).toEqual([
    expect.stringMatching(/^the certificates of the services can not be renewed: .*server-ca\.key/),
  ]);
  writeFileSync(installation.path('keys', 'server-ca.key'), key);
  clock.set(clock.now() + 366 * DAY);
  await eventually(async () => {
    await clock.advance(MINUTE);
    return both().every(isGood);
  });
  timer.cancel();
});
