import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { spawn } from '@lydell/node-pty';
import { decodeJwt } from 'jose';
import { fingerprint } from '../../../../attestation/trust/public-key';
import { signTrustBundle } from '../../../../attestation/trust/signed-bundle';
import type { TrustBundle } from '../../../../attestation/trust/bundle';
import { makeAuthority } from '../../../support/authority';
import { built } from '../../../support/built';
import { Machine, PASSWORD } from '../../../support/machine';
import { makeSigningKey } from '../../../support/trust';
import { startTrustService } from '../../../support/trust-service';
import type { TestTrustService } from '../../../support/trust-service';

let machine: Machine;
let service: TestTrustService;
let bundle: TrustBundle;
let shown: string;

beforeAll(async () => {
  machine = new Machine();
  service = await startTrustService();
  bundle = {
    version: 1,
    sequence: 5,
    trustDomain: 'example.test',
    trustKey: service.trustKey.publicKey,
    revocationKeys: { keys: [service.revocationKey.publicKey] },
    attestationRoots: [(await makeAuthority('attestation')).certificate],
    serverRoots: [],
    services: { signup: service.address, login: service.address },
    policy: { softwareTpm: 'refuse' },
  };
  shown = await fingerprint(bundle.trustKey);
  writeFileSync(machine.path('bundle.jws'), await signTrustBundle(bundle, service.trustKey.privateKey));
});
beforeEach(() => {
  for (const folder of ['config', 'state']) rmSync(machine.path(folder), { recursive: true, force: true });
  service.bundle = bundle;
});
afterAll(async () => {
  await service.stop();
  await machine.remove();
});

const pinnedFile = (): string => machine.path('config', 'sls', 'trust-bundle.jws');
const pinned = (): TrustBundle => decodeJwt(readFileSync(pinnedFile(), 'utf8'));
const isPinned = (): boolean => {
  try {
    return pinned() !== undefined;
  } catch {
    return false;
  }
};
const add = (source: string, ...args: string[]) => machine.sls(['trust', 'add', source, ...args]);

describe('the first use', () => {
  test.each(['bundle.jws', '-', 'the login service'])(
    'of %s pins the trust key that the fingerprint names',
    async (source) => {
      const args = [source === 'the login service' ? service.address : source, '--fingerprint', shown];
      const stdin = source === '-' ? readFileSync(machine.path('bundle.jws')) : '';
      const ended = await machine.sls(['trust', 'add', ...args], { stdin });
      expect({ code: ended.code, stderr: ended.stderr }).toMatchObject({ code: 0 });
      expect(pinned()).toEqual(bundle);
      const { stdout } = await machine.sls(['trust', 'show', '--json']);
      expect(JSON.parse(stdout)).toMatchObject({ trustDomain: 'example.test', sequence: 5, fingerprint: shown });
    },
  );

  test('with another fingerprint pins nothing', async () => {
    const other = await fingerprint(makeSigningKey().publicKey);
    expect(await add('bundle.jws', '--fingerprint', other)).toMatchObject({
      code: 5,
      stderr: expect.stringContaining(shown) as string,
    });
    expect(isPinned()).toBe(false);
  });

  test('without a terminal to confirm it pins nothing', async () => {
    expect(await add('bundle.jws')).toMatchObject({ code: 2 });
    expect(isPinned()).toBe(false);
  });

  test('of a bundle that was changed after it was signed pins nothing', async () => {
    const [header, , signature] = readFileSync(machine.path('bundle.jws'), 'utf8').split('.');
    const changed = Buffer.from(JSON.stringify({ ...bundle, policy: { softwareTpm: 'allow' } })).toString('base64url');
    writeFileSync(machine.path('changed.jws'), `${header}.${changed}.${signature}`);
    expect(await add('changed.jws', '--fingerprint', shown)).toMatchObject({
      code: 5,
      stderr: expect.stringContaining('not signed by its trust key') as string,
    });
    expect(isPinned()).toBe(false);
  });

  test.each([
    ['yes', 0, true],
    ['no', 5, false],
    ['', 5, false],
  ])('on a terminal shows the fingerprint and takes a typed answer: %p', async (answer, code, kept) => {
    const terminal = spawn(process.execPath, [built('sls'), 'trust', 'add', 'bundle.jws'], {
      cwd: machine.folder,
      env: { ...machine.env, TERM: 'xterm' },
      cols: 200,
    });
    let seen = '';
    terminal.onData((text) => {
      const before = seen.includes('Type yes: ');
      seen += text;
      if (!before && seen.includes('Type yes: ')) terminal.write(`${answer}\r`);
    });
    const ended = await new Promise<number>((resolve) => terminal.onExit(({ exitCode }) => resolve(exitCode)));
    expect(seen).toContain(shown);
    expect({ ended, kept: isPinned() }).toEqual({ ended: code, kept });
  });
});

describe('a bundle that is there already', () => {
  beforeEach(async () => {
    expect((await add('bundle.jws', '--fingerprint', shown)).code).toBe(0);
  });

  test('is replaced by a newer one of its trust key without a question', async () => {
    writeFileSync(
      machine.path('newer.jws'),
      await signTrustBundle({ ...bundle, sequence: 6 }, service.trustKey.privateKey),
    );
    expect((await add('newer.jws')).code).toBe(0);
    expect(pinned().sequence).toBe(6);
  });

  test('is not replaced by an older one', async () => {
    writeFileSync(
      machine.path('older.jws'),
      await signTrustBundle({ ...bundle, sequence: 4 }, service.trustKey.privateKey),
    );
    expect((await add('older.jws')).code).toBe(5);
    expect(pinned().sequence).toBe(5);
  });

  test('is not replaced by one of another trust key, whatever fingerprint comes with it: it has to be removed first', async () => {
    const mallory = makeSigningKey('trust');
    writeFileSync(
      machine.path('mallory.jws'),
      await signTrustBundle({ ...bundle, sequence: 9, trustKey: mallory.publicKey }, mallory.privateKey),
    );
    const ended = await add('mallory.jws', '--fingerprint', await fingerprint(mallory.publicKey));
    expect(ended).toMatchObject({ code: 5, stderr: expect.stringContaining('THE TRUST KEY HAS CHANGED') as string });
    expect(ended.stderr).toContain(shown);
    expect(pinned()).toEqual(bundle);

    expect((await machine.sls(['trust', 'remove'])).code).toBe(0);
    expect((await add('mallory.jws', '--fingerprint', await fingerprint(mallory.publicKey))).code).toBe(0);
  });
});

test('without any trust, no command speaks to anyone', async () => {
  for (const args of [
    ['login', '--username', 'ada', '--password-stdin'],
    ['signup', '--username', 'ada', '--password-stdin'],
    ['trust', 'show'],
  ]) {
    expect(await machine.sls(args, { stdin: `${PASSWORD}\n` })).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('sls trust add') as string,
    });
  }
});
