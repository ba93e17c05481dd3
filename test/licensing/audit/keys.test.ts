import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readLogKeys } from '../../../licensing/audit/keys';
import { AuditLog } from '../../../licensing/audit/log';
import { createAuthority } from '../../../licensing/authority/authority';
import { FolderKeyStore } from '../../../installation/folder';
import { rotate } from '../../../installation/rotate';
import { readRequiredKey } from '../../../installation/store';
import { createTrustKeys, publishTrustBundle } from '../../../installation/trust';
import type { Database } from '../../../licensing/store/database';
import { isConsistent } from '../../../attestation/transparency/proof';
import { headerOf, keysByName, readTreeHead, TREE_HEAD_SECONDS } from '../../../attestation/transparency/tree-head';
import type { TreeHead } from '../../../attestation/transparency/tree-head';
import { readSignedBundle } from '../../../attestation/trust/signed-bundle';
import { asOwner, describeOnBoth, emptyLog, freezeClock, readWholeLog, writeRecords } from '../../support/audit';

const trustDomain = 'sls.test';

describeOnBoth('the key of the log is replaced', (store) => {
  let database: Database;
  let folder: string;
  let keystore: FolderKeyStore;
  let log: AuditLog;
  let now: Date;

  beforeAll(() => void (database = store().open()));
  beforeEach(async () => {
    await emptyLog(database);
    folder = mkdtempSync(join(tmpdir(), 'sls-log-keys-'));
    keystore = new FolderKeyStore(folder);
    for (const name of ['attestation-ca', 'server-ca'] as const) {
      await keystore.write([
        [`${name}.crt`, (await createAuthority({ commonName: name, trustDomain, years: 1 })).certificate],
      ]);
    }
    await createTrustKeys(keystore, { trustDomain });
    await publishTrustBundle(keystore, {
      trustDomain,
      services: { signup: 'http://a:1', login: 'http://b:1' },
      policy: { softwareTpm: 'refuse' },
    });
    log = openLog();
    freezeClock((now = new Date()));
  });
  afterEach(() => {
    jest.useRealTimers();
    log.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const openLog = (): AuditLog =>
    new AuditLog({
      database,
      trustDomain,
      keys: async () => readLogKeys(await readRequiredKey(keystore, 'log-keys.json')),
    });
  const pass = (seconds: number): void => void jest.setSystemTime((now = new Date(now.getTime() + seconds * 1000)));
  const signedBy = (signed: string): string => headerOf(signed).kid;
  /** As a client does that has the newest trust bundle. */
  const believed = async (signed: string): Promise<TreeHead> => {
    const { logKeys } = await readSignedBundle(await readRequiredKey(keystore, 'trust-bundle.jws'));
    return readTreeHead(signed, { keyOf: keysByName(logKeys!.keys), trustDomain, now });
  };
  const rewriteTheLastRecord = (): Promise<void> =>
    asOwner(
      database,
      `UPDATE audit SET record = 'x', leaf_sha256 = sha256('\\x0078') WHERE sequence = 0; UPDATE audit_tree SET frontier = sha256('\\x0078')`,
    );

  test('by overlap: the new one signs when every program knows it, heads of both are believed, and the log is one', async () => {
    await writeRecords(database, 3);
    const first = await log.update();
    await rotate(keystore, 'log-key', { trustDomain, now });
    await writeRecords(database, 1);
    const during = await log.update();
    expect(signedBy(during.signed)).toBe(signedBy(first.signed));
    expect(await believed(during.signed)).toMatchObject({ size: 4 });
    pass(keystore.settleSeconds);
    // Nothing new came: the change of the key alone is reason enough.
    const after = await log.update();
    expect(signedBy(after.signed)).not.toBe(signedBy(first.signed));
    expect(await believed(after.signed)).toMatchObject({ size: 4 });
    expect(await believed(during.signed)).toMatchObject({ size: 4 });
    await writeRecords(database, 2);
    const last = await log.update();
    expect(isConsistent(first, last, await log.consistency(first.size, last.size))).toBe(true);
    expect((await readWholeLog(log, last)).wrong).toEqual([]);
  });

  test('while nobody logs in: the log goes on after a head whose key is over, and not after a tree that was changed meanwhile', async () => {
    await writeRecords(database, 1);
    const first = await log.update();
    await rotate(keystore, 'log-key', { trustDomain, now });
    pass(86_400);
    // Dropped by this one, so that two keys signed nothing in between.
    await rotate(keystore, 'log-key', { trustDomain, now });
    pass(86_400);
    const last = await log.update();
    expect(await believed(last.signed)).toMatchObject({ size: 1, root: first.root });
    await rotate(keystore, 'log-key', { trustDomain, now });
    pass(keystore.settleSeconds + TREE_HEAD_SECONDS + 61);
    await rewriteTheLastRecord();
    await expect(log.update()).toRejectWithCode('audit.tree_damaged');
  });

  test('after a theft: heads of the old one are believed no longer, and the log goes on with the same records', async () => {
    await writeRecords(database, 1);
    const first = await log.update();
    expect((await rotate(keystore, 'log-key', { trustDomain, now, compromised: true })).dropped).toBe(1);
    await expect(believed(first.signed)).toRejectWithCode('log.head_signature');
    const next = await log.update();
    expect(signedBy(next.signed)).not.toBe(signedBy(first.signed));
    expect(await believed(next.signed)).toMatchObject({ size: 1, root: first.root });
  });

  test('after a theft, a tree that was changed is not signed: not by the new key, nor by the one after it', async () => {
    await writeRecords(database, 1);
    await log.update();
    await rewriteTheLastRecord();
    for (let nth = 0; nth < 2; nth++) {
      await rotate(keystore, 'log-key', { trustDomain, now, compromised: true });
      await expect(log.update()).toRejectWithCode('audit.tree_damaged');
      pass(10);
    }
  });

  test('where the file was lost, by what the trust bundle says that it was', async () => {
    await writeRecords(database, 1);
    const first = await log.update();
    rmSync(join(folder, 'keys', 'log-keys.json'));
    await createTrustKeys(keystore, { trustDomain });
    await publishTrustBundle(keystore);
    const next = await log.update();
    expect(signedBy(next.signed)).not.toBe(signedBy(first.signed));
    expect(await believed(next.signed)).toMatchObject({ size: 1, root: first.root });
    rmSync(join(folder, 'keys', 'log-keys.json'));
    await createTrustKeys(keystore, { trustDomain });
    await rewriteTheLastRecord();
    await expect(log.update()).toRejectWithCode('audit.tree_damaged');
  });

  test('what is kept of a key that is gone is public, and signs nothing', async () => {
    const stolen = (
      JSON.parse(await readRequiredKey(keystore, 'log-keys.json')) as { keys: Array<{ kid: string; d: string }> }
    ).keys[0]!;
    await rotate(keystore, 'log-key', { trustDomain, now, compromised: true });
    const file = await readRequiredKey(keystore, 'log-keys.json');
    expect(file).toContain(stolen.kid);
    expect(file).not.toContain(stolen.d);
    const keys = await readLogKeys(file);
    expect(keys.signing.kid).not.toBe(stolen.kid);
    expect(keys.known.get(stolen.kid)).toMatchObject({ type: 'public' });
    expect(
      (await readSignedBundle(await readRequiredKey(keystore, 'trust-bundle.jws'))).logKeys!.keys.map(({ kid }) => kid),
    ).not.toContain(stolen.kid);
  });
});
