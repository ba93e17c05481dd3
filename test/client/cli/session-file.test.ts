import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { removeSession, saveRenewed, saveSession, saveTokens, sessionFile } from '../../../client/cli/session-file';
import type { SavedSession } from '../../../client/cli/session-file';
import { signTrustBundle } from '../../../attestation/trust/signed-bundle';
import type { SessionTokens } from '../../../client';
import { startEnclaveFixture } from '../../support/enclave';
import type { EnclaveFixture } from '../../support/enclave';
import { makeSigningKey } from '../../support/trust';

const TOKENS: SessionTokens = {
  accessToken: 'renewed',
  accessTokenExpiresAt: 2,
  refreshToken: 'renewed',
  refreshTokenExpiresAt: 3,
};

let fixture: EnclaveFixture;
let folder: string;
let saved: SavedSession;
let newer: SavedSession;
beforeAll(async () => {
  fixture = await startEnclaveFixture();
  const trustKey = makeSigningKey('trust');
  const trust = { ...fixture.trust, trustKey: trustKey.publicKey };
  const signedTrust = await signTrustBundle(trust, trustKey.privateKey);
  // Each has a certificate of its own, for a session of its own.
  const [one, other] = [await fixture.session(), await fixture.session()];
  saved = { username: 'ada', trust, signedTrust, session: { ...one, refreshToken: 'first' } };
  newer = { username: 'ada', trust, signedTrust, session: { ...other, refreshToken: 'newer' } };
});
afterAll(() => fixture.stop());

const { XDG_STATE_HOME: before } = process.env;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sls-test-'));
  process.env['XDG_STATE_HOME'] = folder;
});
afterEach(() => {
  if (before === undefined) delete process.env['XDG_STATE_HOME'];
  else process.env['XDG_STATE_HOME'] = before;
  rmSync(folder, { recursive: true, force: true });
});

const tokenThere = (): string =>
  (JSON.parse(readFileSync(sessionFile(), 'utf8')) as { session: { refreshToken: string } }).session.refreshToken;

test('what renewed a session is saved where that is still there', async () => {
  await saveSession(saved);
  await saveTokens(saved, TOKENS);
  expect(tokenThere()).toBe('renewed');
  await saveRenewed(
    { ...saved, session: { ...saved.session, ...TOKENS } },
    { ...saved, session: { ...saved.session, refreshToken: 'next' } },
  );
  expect(tokenThere()).toBe('next');
});

test('and not over the one that a login has put in its place meanwhile, whose tokens would be lost', async () => {
  await saveSession(newer);
  await saveTokens(saved, TOKENS);
  await saveRenewed(saved, { ...saved, session: { ...saved.session, ...TOKENS } });
  expect(tokenThere()).toBe('newer');
});

test('nor after a logout: nothing comes back', async () => {
  await saveSession(saved);
  await removeSession();
  await saveTokens(saved, TOKENS);
  await saveRenewed(saved, { ...saved, session: { ...saved.session, ...TOKENS } });
  expect(readdirSync(join(folder, 'sls'))).not.toContain('session.json');
});

test('what another process renewed meanwhile stays: the service believes that one', async () => {
  await saveSession({ ...saved, session: { ...saved.session, refreshToken: 'of the other' } });
  await saveRenewed(saved, { ...saved, session: { ...saved.session, ...TOKENS } });
  expect(tokenThere()).toBe('of the other');
});
