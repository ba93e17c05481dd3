import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { status } from '@grpc/grpc-js';
import { importJWK } from 'jose';
import type { CryptoKey, JWK } from 'jose';
import { readRecord } from '../../attestation/transparency/record';
import { RpcError } from '../../runtime/rpc/errors';
import { signTreeHead, TREE_HEAD_SECONDS } from '../../attestation/transparency/tree-head';
import type { LoginResponse } from '../../proto/gen/licensing/v1/login';
import type {
  GetInclusionProofResponse,
  GetTreeHeadResponse,
  LogReceipt,
} from '../../proto/gen/licensing/v1/transparency';
import { answerOf, AuditMachine, refusalOf } from '../support/audit-machine';
import { startLyingService } from '../support/lying-service';
import type { LyingService } from '../support/lying-service';
import { PASSWORD } from '../support/machine';
import type { Ended } from '../support/machine';

let machine: AuditMachine;
let liar: LyingService;
beforeAll(async () => {
  machine = await AuditMachine.start();
});
afterAll(async () => {
  await liar?.stop();
  await machine.remove();
});

describe('a log that nobody touched', () => {
  test('a login is in it, and this machine remembers the head and the receipt, 0600', async () => {
    const { head, before, logins } = await answerOf(machine.check());
    expect(before).toBeNull();
    expect(head).toMatchObject({ size: expect.any(Number), root: expect.stringMatching(/^[0-9a-f]{64}$/) });
    const [receipt] = machine.remembered(/^login-/);
    const { record } = JSON.parse(readFileSync(receipt!, 'utf8')) as { record: string };
    const { session, workloadUid, node } = readRecord(Buffer.from(record, 'base64')).detail as Record<string, string>;
    expect(logins).toEqual([
      { at: expect.any(String), session, workload: workloadUid, node, state: 'logged', record: expect.any(Number) },
    ]);
    for (const file of machine.remembered(/json$/)) expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(machine.remembered(/^head-/)).toHaveLength(1);
  });

  test('later it has grown, by another login too; a login that was renewed by a command counts as one', async () => {
    const first = await answerOf(machine.check());
    expect((await machine.login()).code).toBe(0);
    process.kill(machine.pidOf('enclave.cjs'), 'SIGKILL');
    expect((await machine.sls(['exec', '-q', 'true'])).code).toBe(0);
    await machine.untilHeadHasAll();
    const { head, before, logins } = await answerOf(machine.check());
    expect(before).toEqual(first.head);
    expect(head.size).toBeGreaterThan(first.head.size);
    expect(logins.map(({ state }) => state)).toEqual(['logged', 'logged', 'logged']);
    expect(new Set(logins.map(({ record }) => record)).size).toBe(3);
    const { stdout, stderr, code } = await machine.sls(['audit', 'check']);
    expect(code).toBe(0);
    expect(stderr).toMatch(
      /^sls: looking at the audit log\nsls: ok the audit log of sls\.local, \d+ records, has only grown since \S+; 3 logins of this machine are in it\n$/,
    );
    expect(stdout).toMatch(/^(\S+Z {2}record \d+ {2}session \S+ {2}enclave \S+ on \S+\n){3}$/);
  });

  test('an administrator reads and verifies all of it, and gets the head that users get', async () => {
    const { head } = await answerOf(machine.check());
    const verified = await answerOf(machine.verify());
    expect(verified.head.size).toBeGreaterThanOrEqual(head.size);
    expect(verified.before).toEqual(head);
    const { stderr, code } = await machine.sls(['admin', 'audit', 'verify']);
    expect(code).toBe(0);
    expect(stderr).toMatch(
      /ok the audit log of sls\.local is what was signed: \d+ records, root [0-9a-f]{64}; it has only grown since/,
    );
  });

  test('who is not logged in can check it as well: on another machine, against a head of this one', async () => {
    writeFileSync(machine.path('mine.json'), (await machine.check()).stdout);
    const { before, logins } = await answerOf(machine.check(['--head', 'mine.json'], machine.elsewhere('grace')));
    expect({ before, logins }).toEqual({ before: null, logins: [] });
    expect((await machine.verify(['--head', 'mine.json'])).code).toBe(0);
    writeFileSync(machine.path('no-head.json'), '{"head":7}');
    expect((await machine.check(['--head', 'no-head.json'])).code).toBe(2);
    expect((await machine.check(['--head', 'nowhere.json'])).code).toBe(2);
    writeFileSync(machine.path('no-head.json'), 'no head');
    expect(await refusalOf(machine.check(['--head', 'no-head.json']))).toMatchObject({
      code: 'log.head_malformed',
      exitCode: 5,
    });
  });

  test('two checks at once, while somebody logs in, leave one head', async () => {
    const ended = await Promise.all([machine.check(), machine.login(), machine.check(), machine.verify()]);
    expect(ended.map(({ code }) => code)).toEqual([0, 0, 0, 0]);
    expect(machine.remembered(/^head-/)).toHaveLength(1);
    expect(machine.remembered(/new$/)).toEqual([]);
  });

  test('the key of the log is replaced: heads by the new one are believed, the trust bundle is renewed by itself', async () => {
    const env = { XDG_CONFIG_HOME: machine.path('pinned') };
    const { fingerprint } = await answerOf<{ fingerprint: string }>(machine.sls(['trust', 'show', '--json']));
    expect(
      (await machine.sls(['trust', 'add', machine.server('trust-bundle.jws'), '--fingerprint', fingerprint], { env }))
        .code,
    ).toBe(0);
    await answerOf(machine.check());
    writeFileSync(machine.path('old.jws'), readFileSync(machine.server('trust-bundle.jws')));
    writeFileSync(machine.path('mine.json'), (await machine.check()).stdout);
    expect((await machine.sls(['admin', 'rotate', 'log-key', '--compromised'])).code).toBe(0);
    const { keys } = JSON.parse(readFileSync(machine.server('keys', 'log-keys.json'), 'utf8')) as {
      keys: Array<{ kid: string }>;
    };
    await machine.untilLogKeyIs(keys[0]!.kid);
    await machine.login();
    await machine.untilHeadHasAll();
    const { before, head } = await answerOf(machine.check([], env));
    expect(head.size).toBeGreaterThan(before!.size);
    for (const args of [[], ['--trust', 'old.jws']]) expect((await machine.verify(args)).code).toBe(0);
    // What the key of before signed, anybody may have signed.
    for (const refused of [
      machine.check(['--head', 'mine.json']),
      machine.verify(['--trust', 'old.jws', '--head', 'mine.json']),
    ]) {
      expect(await refusalOf(refused)).toMatchObject({
        code: 'log.head_signature',
        exitCode: 5,
        message: expect.stringMatching(/^the head to compare with can't be used: /),
      });
    }
  });
});

describe('a service that lies', () => {
  beforeAll(async () => {
    liar = await startLyingService(machine.trustBundle());
    await machine.signBundle('liar.jws', { services: liar.trust.services });
  });
  afterEach(() => {
    for (const name of Object.keys(liar.lies)) delete liar.lies[name];
  });
  afterAll(async () => {
    // What Mallory's bundle said is the newest that this machine has seen.
    rmSync(machine.path('state', 'sls', 'trust'), { recursive: true });
    rmSync(machine.path('state', 'sls', 'session.json'));
    expect((await machine.loginByPassword()).code).toBe(0);
  });
  const lying = (): Promise<Ended> => machine.check(['--trust', 'liar.jws']);

  test('is believed while it tells the truth', async () => {
    expect((await answerOf(lying())).logins.every(({ state }) => state === 'logged')).toBe(true);
  });

  test('a head of before, signed by the right key', async () => {
    const [key] = (
      JSON.parse(readFileSync(machine.server('keys', 'log-keys.json'), 'utf8')) as {
        keys: Array<JWK & { kid: string }>;
      }
    ).keys;
    const { head } = await answerOf(machine.check());
    const old = await signTreeHead(
      {
        size: head.size,
        root: Buffer.from(head.root, 'hex'),
        at: new Date(Date.now() - (TREE_HEAD_SECONDS + 5) * 1000),
      },
      { kid: key!.kid, key: (await importJWK(key!, 'ES256')) as CryptoKey },
      'sls.local',
    );
    liar.lies['GetTreeHead'] = (): GetTreeHeadResponse => ({ head: old });
    expect(await refusalOf(lying())).toMatchObject({
      code: 'log.head_stale',
      exitCode: 5,
      hint: "is this machine's clock right?",
    });
  });

  test('a head that was changed', async () => {
    liar.lies['GetTreeHead'] = ({ head }: GetTreeHeadResponse): GetTreeHeadResponse => {
      const [header, payload, signature] = head.split('.');
      const changed = JSON.parse(Buffer.from(payload!, 'base64url').toString('utf8')) as { size: number };
      return {
        head: [
          header,
          Buffer.from(JSON.stringify({ ...changed, size: changed.size + 1 })).toString('base64url'),
          signature,
        ].join('.'),
      };
    };
    expect(await refusalOf(lying())).toMatchObject({ code: 'log.head_signature', exitCode: 5 });
  });

  test('a proof that leads elsewhere, or is of another place', async () => {
    liar.lies['GetInclusionProof'] = ({ sequence, path }: GetInclusionProofResponse): GetInclusionProofResponse => ({
      sequence,
      path: path.map((hash) => Buffer.from(hash).reverse()),
    });
    expect(await refusalOf(lying())).toMatchObject({ code: 'log.proof_wrong', exitCode: 5 });
    for (const by of [1n, -1000n, 1000n]) {
      liar.lies['GetInclusionProof'] = ({ sequence, path }: GetInclusionProofResponse): GetInclusionProofResponse => ({
        sequence: sequence + by,
        path,
      });
      expect(await refusalOf(lying())).toMatchObject({ code: 'log.proof_wrong', exitCode: 5 });
    }
  });

  test('that there is no audit log, or no longer so many records', async () => {
    liar.lies['GetTreeHead'] = () => {
      throw new RpcError('rpc.unimplemented', status.UNIMPLEMENTED, 'no such method');
    };
    expect(await refusalOf(lying())).toMatchObject({
      code: 'log.none',
      exitCode: 6,
      hint: expect.stringContaining('being updated'),
    });
    liar.lies['GetTreeHead'] = () => {
      throw new RpcError('audit.size', status.INVALID_ARGUMENT, 'there are not so many');
    };
    expect(await refusalOf(lying())).toMatchObject({ code: 'log.rolled_back', exitCode: 5 });
    // A machine that remembers no head is told by that alone.
    liar.lies['GetTreeHead'] = () => {
      throw new RpcError('rpc.unimplemented', status.UNIMPLEMENTED, 'no such method');
    };
    const without = await machine.signBundle('without.jws', { services: liar.trust.services, logKeys: undefined });
    expect(await refusalOf(machine.check(without, machine.elsewhere('without')))).toMatchObject({
      code: 'log.none',
      exitCode: 1,
      hint: expect.stringContaining('sls trust add'),
    });
  });

  test('a proof of growth that proves nothing', async () => {
    await answerOf(machine.check());
    expect((await machine.login()).code).toBe(0);
    await machine.untilHeadHasAll();
    liar.lies['GetConsistencyProof'] = (): unknown => ({ path: [] });
    expect(await refusalOf(lying())).toMatchObject({ code: 'log.forked', exitCode: 5 });
  });

  const saved = (): string => readFileSync(machine.path('state', 'sls', 'session.json'), 'utf8');
  let other: LogReceipt | undefined;
  const lieAboutReceipt = (lie: (receipt: LogReceipt) => LogReceipt | undefined): void => {
    liar.lies['Login'] = ({ event }: LoginResponse): LoginResponse =>
      event?.$case !== 'result'
        ? { event }
        : {
            event: {
              $case: 'result',
              value: { ...event.value, receipt: event.value.receipt && lie(event.value.receipt) },
            },
          };
  };
  test("another login's receipt: refused, nothing is kept of it, and the session of before stays", async () => {
    lieAboutReceipt((receipt) => (other = receipt));
    expect((await machine.loginByPassword(['--trust', 'liar.jws'])).code).toBe(0);
    const [before, receipts] = [saved(), machine.remembered(/^login-/).length];
    lieAboutReceipt(() => other);
    expect(await refusalOf(machine.loginByPassword(['--trust', 'liar.jws', '--json']))).toMatchObject({
      code: 'log.record_wrong',
      step: 'log',
      exitCode: 5,
      hint: expect.stringContaining('kept a wrong one'),
    });
    expect(saved()).toBe(before);
    expect(machine.remembered(/^login-/)).toHaveLength(receipts);
  });

  test('when a command logs in again by itself, too', async () => {
    expect((await machine.loginByPassword(['--trust', 'liar.jws'])).code).toBe(0);
    lieAboutReceipt(() => other);
    process.kill(machine.pidOf('enclave.cjs'), 'SIGKILL');
    const { code, stderr } = await machine.sls(['exec', '-q', 'true']);
    expect({ code, stderr }).toEqual({
      code: 5,
      stderr: expect.stringContaining('attestation refused at step log (log.record_wrong)'),
    });
    delete liar.lies['Login'];
    expect((await machine.sls(['exec', '-q', 'true'])).code).toBe(0);
  });

  test('no receipt, as from a replica of before: a login all the same, with a warning', async () => {
    const before = machine.remembered(/^login-/).length;
    lieAboutReceipt(() => undefined);
    const { code, stderr } = await machine.loginByPassword(['--trust', 'liar.jws']);
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: expect.stringContaining('warning: the service gave no receipt for this login'),
    });
    expect(machine.remembered(/^login-/)).toHaveLength(before);
  });
});

describe('what this machine remembers', () => {
  test.each(['head-', 'login-'])(
    'a damaged file is told by its name, and keeps nobody from logging in: %s',
    async (prefix) => {
      await answerOf(machine.check());
      const [file] = machine.remembered(new RegExp(`^${prefix}`));
      const own = readFileSync(file!, 'utf8');
      for (const text of ['', '[]', own.slice(0, -20)]) {
        writeFileSync(file!, text);
        expect(await refusalOf(machine.check())).toMatchObject({
          code: 'log.memory_damaged',
          exitCode: 1,
          message: expect.stringContaining(file!),
          hint: expect.stringContaining('remove the file'),
        });
      }
      expect((await machine.loginByPassword()).code).toBe(0);
      writeFileSync(file!, own);
      expect((await machine.check()).code).toBe(0);
    },
  );

  test('outlives the logout, and its logins go with the account', async () => {
    expect((await machine.sls(['logout'])).code).toBe(0);
    expect((await answerOf(machine.check())).logins.length).toBeGreaterThan(0);
    expect((await machine.loginByPassword()).code).toBe(0);
    expect(
      (await machine.sls(['account', 'delete', '-q', '--yes', '--password-stdin'], { stdin: `${PASSWORD}\n` })).code,
    ).toBe(0);
    expect((await answerOf(machine.check())).logins).toEqual([]);
    expect((await answerOf(machine.verify())).before).not.toBeNull();
  });
});
