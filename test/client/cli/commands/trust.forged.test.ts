import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { CompactSign, importJWK } from 'jose';
import { fingerprint } from '../../../../attestation/trust/public-key';
import { signTrustBundle, TRUST_BUNDLE_TYPE } from '../../../../attestation/trust/signed-bundle';
import type { TrustBundle } from '../../../../attestation/trust/bundle';
import { makeAuthority } from '../../../support/authority';
import { Machine, PASSWORD } from '../../../support/machine';
import { makeSigningKey } from '../../../support/trust';
import { startTrustService } from '../../../support/trust-service';
import type { TestTrustService } from '../../../support/trust-service';

jest.setTimeout(60_000);

const mallory = makeSigningKey('trust');
let machine: Machine;
/** The operator's. */
let service: TestTrustService;
/** Mallory's: the operator's public trust key stands in her bundle, the services and the roots are her own. */
let forgery: TestTrustService;
let bundle: TrustBundle;
let forged: TrustBundle;
let operator: string;
let other: string;

beforeAll(async () => {
  machine = new Machine();
  service = await startTrustService();
  forgery = await startTrustService();
  const common = {
    version: 1 as const,
    trustDomain: 'example.test',
    trustKey: service.trustKey.publicKey,
    revocationKeys: { keys: [service.revocationKey.publicKey] },
    serverRoots: [],
    policy: { softwareTpm: 'refuse' as const },
  };
  bundle = {
    ...common,
    sequence: 5,
    attestationRoots: [(await makeAuthority('attestation')).certificate],
    services: { signup: service.address, login: service.address },
  };
  forged = {
    ...common,
    sequence: 9,
    attestationRoots: [(await makeAuthority('mallory')).certificate],
    services: { signup: forgery.address, login: forgery.address },
  };
  service.bundle = bundle;
  forgery.signed = await signedByMallory(forged);
  operator = await fingerprint(bundle.trustKey);
  other = await fingerprint(mallory.publicKey);
  writeFileSync(machine.path('bundle.jws'), await signTrustBundle(bundle, service.trustKey.privateKey));
  writeFileSync(machine.path('plain.json'), JSON.stringify(forged));
  writeFileSync(machine.path('forged.jws'), forgery.signed);
  writeFileSync(
    machine.path('mallory.jws'),
    await signTrustBundle({ ...forged, trustKey: mallory.publicKey }, mallory.privateKey),
  );
  const [, payload] = (await signTrustBundle(bundle, service.trustKey.privateKey)).split('.');
  const none = Buffer.from(JSON.stringify({ alg: 'none', typ: TRUST_BUNDLE_TYPE })).toString('base64url');
  writeFileSync(machine.path('none.jws'), `${none}.${payload}.`);
});
beforeEach(() => {
  for (const folder of ['config', 'state']) rmSync(machine.path(folder), { recursive: true, force: true });
  service.calls.length = 0;
  forgery.calls.length = 0;
});
afterAll(async () => {
  await service.stop();
  await forgery.stop();
  await machine.remove();
});

async function signedByMallory(content: object): Promise<string> {
  return new CompactSign(Buffer.from(JSON.stringify(content)))
    .setProtectedHeader({ alg: 'ES256', typ: TRUST_BUNDLE_TYPE, kid: 'trust' })
    .sign(await importJWK(mallory.privateKey, 'ES256'));
}

const believed = async (): Promise<unknown> => {
  const { code, stdout } = await machine.sls(['trust', 'show', '--json']);
  return code === 0 ? (JSON.parse(stdout) as { services: object }).services : undefined;
};
const FORGED = [
  ['plain.json', 'trust.unsigned'],
  ['forged.jws', 'trust.signature'],
  ['none.jws', 'trust.signature'],
] as const;

/** Whatever the command says: nothing of the person's may have been sent to anyone. */
async function refusedEverywhere(args: string[], code: string, options: object = {}): Promise<void> {
  const ended = await machine.sls([...args, '--json'], options);
  expect({ code: ended.code, error: (JSON.parse(ended.stdout) as { error: { code: string } }).error.code }).toEqual({
    code: 5,
    error: code,
  });
  expect(service.calls).toEqual([]);
  expect(forgery.calls).toEqual([]);
}

describe('a bundle with the operator’s trust key in it, which that key did not sign', () => {
  test.each(FORGED)('is not added from the file %s: %s', async (file, code) => {
    await refusedEverywhere(['trust', 'add', file, '--fingerprint', operator], code);
    expect(await believed()).toBeUndefined();
  });

  test.each(FORGED)('is not added from standard input, %s: %s', async (file, code) => {
    await refusedEverywhere(['trust', 'add', '-', '--fingerprint', operator], code, {
      stdin: readFileSync(machine.path(file)),
    });
    expect(await believed()).toBeUndefined();
  });

  test.each(FORGED)('takes no place of the pinned one, %s: %s', async (file, code) => {
    expect((await machine.sls(['trust', 'add', 'bundle.jws', '--fingerprint', operator])).code).toBe(0);
    await refusedEverywhere(['trust', 'add', file], code);
    expect(await believed()).toEqual(bundle.services);
  });

  test('is not added from the address of a service', async () => {
    const ended = await machine.sls(['trust', 'add', forgery.address, '--fingerprint', operator]);
    expect(ended).toMatchObject({ code: 5, stderr: expect.stringContaining('not signed') as string });
    expect(await believed()).toBeUndefined();
  });

  const sending = ['--username', 'ada', '--password-stdin'];
  test.each(FORGED)('is not taken from --trust by any command, %s: %s', async (file, code) => {
    for (const verb of ['signup', 'login'])
      await refusedEverywhere([verb, ...sending, '--trust', file, '--trust-fingerprint', operator], code, {
        stdin: `${PASSWORD}\n`,
      });
    writeFileSync(machine.path('proof.json'), '{}');
    await refusedEverywhere(['verify', 'proof.json', '--trust', file, '--trust-fingerprint', operator], code);
  });

  test.each(FORGED)('is not taken from the environment, %s: %s', async (file, code) => {
    const env = { SLS_TRUST: machine.path(file), SLS_TRUST_FINGERPRINT: operator };
    for (const verb of ['signup', 'login'])
      await refusedEverywhere([verb, ...sending], code, { env, stdin: `${PASSWORD}\n` });
  });

  test.each(FORGED)('is not taken from where `trust add` keeps it, %s: %s', async (file, code) => {
    expect((await machine.sls(['trust', 'add', 'bundle.jws', '--fingerprint', operator])).code).toBe(0);
    writeFileSync(machine.path('config', 'sls', 'trust-bundle.jws'), readFileSync(machine.path(file)));
    await refusedEverywhere(['login', ...sending], code, { stdin: `${PASSWORD}\n` });
  });
});

describe('a bundle that is well signed, by a key that nobody compared', () => {
  const sending = ['login', '--username', 'ada', '--password-stdin'];
  const stdin = `${PASSWORD}\n`;

  test('is not taken from --trust or the environment', async () => {
    await refusedEverywhere([...sending, '--trust', 'mallory.jws'], 'trust.unknown_key', { stdin });
    await refusedEverywhere(sending, 'trust.unknown_key', { stdin, env: { SLS_TRUST: machine.path('mallory.jws') } });
  });

  test('is not taken where the fingerprint that was given is another key’s', async () => {
    const args = [...sending, '--trust', 'mallory.jws', '--trust-fingerprint', operator];
    await refusedEverywhere(args, 'trust.fingerprint', { stdin });
    const env = { SLS_TRUST: machine.path('mallory.jws'), SLS_TRUST_FINGERPRINT: operator };
    await refusedEverywhere(sending, 'trust.fingerprint', { stdin, env });
  });

  test('is taken by the fingerprint once, and by the key from then on, until `trust remove`', async () => {
    const show = (...args: string[]) => machine.sls(['trust', 'show', '--trust', 'bundle.jws', ...args]);
    expect((await show()).code).toBe(5);
    expect((await show('--trust-fingerprint', operator)).code).toBe(0);
    expect((await show()).code).toBe(0);
    // Another key's fingerprint tells nothing of this one.
    const env = { SLS_TRUST_FINGERPRINT: other };
    expect((await machine.sls(['trust', 'show', '--trust', 'bundle.jws'], { env })).code).toBe(0);
    expect((await machine.sls(['trust', 'add', 'bundle.jws', '--fingerprint', operator])).code).toBe(0);
    expect((await machine.sls(['trust', 'remove'])).code).toBe(0);
    expect((await show()).code).toBe(5);
  });
});

describe('the newest bundle that this machine has seen', () => {
  const signed = async (change: Partial<TrustBundle>): Promise<string> => {
    const file = `changed${JSON.stringify(change).replace(/\W+/g, '-')}.jws`;
    writeFileSync(machine.path(file), await signTrustBundle({ ...bundle, ...change }, service.trustKey.privateKey));
    return file;
  };
  const changed = { policy: { softwareTpm: 'allow' as const } };

  test.each([
    ['an older one', { sequence: 4 }, 'trust.older'],
    ['another one of its sequence', changed, 'trust.conflict'],
  ])('is not replaced by %s, also not after `trust remove`', async (_, change, code) => {
    const file = await signed(change);
    expect((await machine.sls(['trust', 'add', 'bundle.jws', '--fingerprint', operator])).code).toBe(0);
    await refusedEverywhere(['trust', 'add', file], code);
    expect((await machine.sls(['trust', 'remove'])).code).toBe(0);
    await refusedEverywhere(['trust', 'add', file, '--fingerprint', operator], code);
    expect((await machine.sls(['trust', 'add', 'bundle.jws', '--fingerprint', operator])).code).toBe(0);
  });

  test('is what counts, wherever it came from and whichever older one is named', async () => {
    const [older, newer, conflict] = [
      await signed({ sequence: 4 }),
      await signed({ sequence: 6 }),
      await signed(changed),
    ];
    const sequence = async (args: string[], env = {}): Promise<number> =>
      (JSON.parse((await machine.sls(['trust', 'show', '--json', ...args], { env })).stdout) as { sequence: number })
        .sequence;
    expect((await machine.sls(['trust', 'add', 'bundle.jws', '--fingerprint', operator])).code).toBe(0);
    expect(await sequence(['--trust', older])).toBe(5);
    expect(await sequence([], { SLS_TRUST: machine.path(older) })).toBe(5);
    await refusedEverywhere(['trust', 'show', '--trust', conflict], 'trust.conflict');
    await refusedEverywhere(['trust', 'show'], 'trust.conflict', { env: { SLS_TRUST: machine.path(conflict) } });
    expect(await sequence(['--trust', newer])).toBe(6);
    expect(await sequence([])).toBe(6);
    expect(await sequence(['--trust', 'bundle.jws'])).toBe(6);
  });

  test('stands in no way of a file that is verified as of then', async () => {
    const old = await signed({ sequence: 3 });
    expect((await machine.sls(['trust', 'add', 'bundle.jws', '--fingerprint', operator])).code).toBe(0);
    writeFileSync(machine.path('proof.json'), '{}');
    const args = ['verify', 'proof.json', '--json', '--trust', old];
    const codeOf = async (...more: string[]): Promise<string> =>
      (JSON.parse((await machine.sls([...args, ...more])).stdout) as { error: { code: string } }).error.code;
    for (const at of [[], ['--at', '2026-01-01T00:00:00Z']]) expect(await codeOf(...at)).toMatch(/^evidence_file\./);
  });
});

test('a plain bundle that an earlier release pinned is named, not believed and not passed over', async () => {
  expect((await machine.sls(['trust', 'add', 'bundle.jws', '--fingerprint', operator])).code).toBe(0);
  rmSync(machine.path('config', 'sls', 'trust-bundle.jws'));
  writeFileSync(machine.path('config', 'sls', 'trust-bundle.json'), JSON.stringify(bundle));
  await refusedEverywhere(['trust', 'show'], 'trust.unsigned');
  await refusedEverywhere(['trust', 'add', 'mallory.jws', '--fingerprint', other], 'trust.key_changed');
  expect((await machine.sls(['trust', 'add', 'bundle.jws', '--fingerprint', operator])).code).toBe(0);
  expect(existsSync(machine.path('config', 'sls', 'trust-bundle.json'))).toBe(false);
  expect(await believed()).toEqual(bundle.services);
});
