import { randomBytes } from 'node:crypto';
import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureAttestationKey } from '../../../attestor-daemon/tpm/attestation-key';
import type { AttestationKey } from '../../../attestor-daemon/tpm/attestation-key';
import { readEndorsementKey } from '../../../attestor-daemon/tpm/endorsement-key';
import { tpmOpener } from '../../../attestor-daemon/tpm/open';
import { quote } from '../../../attestor-daemon/tpm/quote';
import { nativeQuotes } from '../../../attestor-daemon/tpm/quote-native';
import { toolQuotes } from '../../../attestor-daemon/tpm/quote-tools';
import type { QuoteOnce } from '../../../attestor-daemon/tpm/raw-quote';
import { TpmTools } from '../../../attestor-daemon/tpm/tools';
import { checkAkAttributes } from '../../../attestation/evidence/steps/attestation-key';
import { pcrExtend, pcrReset } from '../../../attestation/tpm/command';
import { TPM_CC } from '../../../attestation/tpm/constants';
import { pcrDigest, rootPcrValue } from '../../../attestation/tpm/pcr';
import { publicKeyObject } from '../../../attestation/tpm/public';
import { parseQuote } from '../../../attestation/tpm/quote';
import { parseSignature, verifyEcdsaP256 } from '../../../attestation/tpm/signature';
import { startNodeTpm } from '../../support/node-tpm';
import type { NodeTpm } from '../../support/node-tpm';

const HANDLE = '0x81010010';
let tpm: NodeTpm;
let tools: TpmTools;
let stateDir: string;
beforeAll(async () => {
  tpm = await startNodeTpm();
  tools = await TpmTools.open(tpm.tcti, join(tpm.folder, 'tools'));
  stateDir = join(tpm.folder, 'attestor');
});
afterAll(async () => {
  await tools.close();
  await tpm.stop();
});
afterEach(() => jest.restoreAllMocks());

/** Another process, that reaches PCR 23. */
interface Other {
  reset(): Promise<unknown>;
  extend(digest: Buffer): Promise<unknown>;
}

interface Way {
  once(): QuoteOnce;
  /** With what another process does between PCR 23's being set and its being signed. `nth` is told how often that was. */
  disturbed(act: (other: Other, nth: number) => Promise<unknown>): QuoteOnce;
}

const byTools: Way = {
  once: () => toolQuotes(tools),
  disturbed(act) {
    let signings = 0;
    const other: Other = {
      reset: () => tpm.tool('tpm2_pcrreset', '23'),
      extend: (digest) => tpm.tool('tpm2_pcrextend', `23:sha256=${digest.toString('hex')}`),
    };
    const run = tools.run.bind(tools);
    jest.spyOn(tools, 'run').mockImplementation(async (command, args) => {
      if (command === 'tpm2_quote') await act(other, (signings += 1));
      return run(command, args);
    });
    return toolQuotes(tools);
  },
};

const natively: Way = {
  once: () => nativeQuotes(tpmOpener(tpm.tcti)!, tools),
  // swtpm lets nobody else in meanwhile, the kernel's resource manager does: so the other's commands go in on the same connection.
  disturbed(act) {
    let signings = 0;
    return nativeQuotes(async () => {
      const connection = await tpmOpener(tpm.tcti)!();
      const other: Other = {
        reset: () => connection.transmit(pcrReset(23).bytes),
        extend: (digest) => connection.transmit(pcrExtend(23, digest).bytes),
      };
      return {
        ...connection,
        async transmit(command) {
          if (command.readUInt32BE(6) === TPM_CC.Quote) await act(other, (signings += 1));
          return connection.transmit(command);
        },
      };
    }, tools);
  },
};

const ensure = (handle = HANDLE): Promise<AttestationKey> => ensureAttestationKey(tools, { handle, stateDir });

function expectGood(made: Awaited<ReturnType<typeof quote>>, key: AttestationKey, root: Buffer): void {
  const parsed = parseQuote(made.attest);
  expect(verifyEcdsaP256(publicKeyObject(key.public), parseSignature(made.signature), made.attest)).toBe(true);
  expect(parsed.extraData).toEqual(root);
  expect(parsed.pcrDigest).toEqual(pcrDigest(made.pcrs.map((pcr) => pcr.sha256)));
  expect(made.pcrs.map((pcr) => pcr.index)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 23]);
  expect(made.pcrs.at(-1)?.sha256).toEqual(rootPcrValue(root));
}

describe.each([
  ['tpm2-tools', byTools],
  ["the TPM's own commands", natively],
])('by %s', (_name, way) => {
  test('the attestation key is made once, restricted, and is there again after a restart of attestor and TPM', async () => {
    const first = await ensure();
    expect(() => checkAkAttributes(first.public)).not.toThrow();
    expect((await stat(join(stateDir, 'ak-auth'))).mode & 0o777).toBe(0o600);
    expect(await readFile(join(stateDir, 'ak-auth'), 'utf8')).toMatch(/^hex:[0-9a-f]{64}$/);
    expect((await stat(tools.folder)).mode & 0o777).toBe(0o700);
    await tpm.kill();
    await tpm.restart();
    const again = await ensure();
    expect(again.public.bytes).toEqual(first.public.bytes);
    const root = randomBytes(32);
    expectGood(await quote(way.once(), again, root), again, root);
  });

  test('another process can not make the attestation key sign: it needs an authorization that only the attestor has', async () => {
    const key = await ensure();
    const args = ['-c', key.handle, '-l', 'sha256:23', '-q', 'aa', '-m', 'm', '-s', 's'];
    await expect(tpm.tool('tpm2_quote', ...args)).rejects.toThrow(/authorization failure/);
    await expect(tpm.tool('tpm2_quote', ...args, '-p', 'guess')).rejects.toThrow(/authorization failure/);
  });

  test('PCR 23 can be reset by any process: one that does so during a quote changes no verdict', async () => {
    const key = await ensure();
    const root = randomBytes(32);
    let signings = 0;
    const once = way.disturbed(async (other, nth) => {
      signings = nth;
      if (nth > 1) return;
      await other.reset();
      await other.extend(randomBytes(32));
    });
    expectGood(await quote(once, key, root), key, root);
    expect(signings).toBe(2);
  });

  test('when PCR 23 is disturbed every time, there is no quote but a clear error', async () => {
    const key = await ensure();
    let signings = 0;
    const once = way.disturbed((other, nth) => {
      signings = nth;
      return other.extend(Buffer.alloc(32, 0xab));
    });
    await expect(quote(once, key, randomBytes(32))).toRejectWithCode('tpm.pcr_disturbed');
    expect(signings).toBe(5);
    jest.restoreAllMocks();
    const root = randomBytes(32);
    expectGood(await quote(way.once(), key, root), key, root);
  });

  test('objects and sessions that another process left loaded do not stop the attestor', async () => {
    const key = await ensure();
    for (let left = 0; left < 3; left++)
      await tpm.tool('tpm2_createprimary', '-C', 'n', '-G', 'ecc', '-c', `left${left}.ctx`).catch(() => undefined);
    expect((await tpm.tool('tpm2_getcap', 'handles-transient')).match(/0x8/g)).toHaveLength(3);
    const root = randomBytes(32);
    expectGood(await quote(way.once(), key, root), key, root);
  });

  test('a key that lost its authorization is replaced; a key of another kind is left alone', async () => {
    const before = await ensure();
    await writeFile(join(stateDir, 'ak-public'), 'lost');
    const after = await ensure();
    expect(after.public.bytes).not.toEqual(before.public.bytes);
    await tools.exclusive(() => tools.flush());
    await tpm.tool('tpm2_createprimary', '-C', 'o', '-G', 'ecc', '-c', 'other.ctx');
    await tpm.tool('tpm2_evictcontrol', '-C', 'o', '-c', 'other.ctx', '0x81010020');
    await expect(ensure('0x81010020')).toRejectWithCode('tpm.handle_in_use');
    expect(await tpm.tool('tpm2_getcap', 'handles-persistent')).toMatch(/0x81010020/);
  });

  test('a key that somebody else put at the handle signs nothing in the name of the node', async () => {
    const key = await ensure();
    await writeFile(join(tpm.folder, 'auth'), 'hex:00');
    await tools.exclusive(() => tools.flush());
    await tpm.tool('tpm2_evictcontrol', '-C', 'o', '-c', HANDLE);
    await expect(quote(way.once(), key, randomBytes(32))).toRejectWithCode('tpm.key_lost');
    const attributes = 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign';
    await tpm.tool(
      'tpm2_createprimary',
      '-C',
      'o',
      '-G',
      'ecc256:ecdsa-sha256:null',
      '-a',
      attributes,
      '-p',
      `file:${key.authFile}`,
      '-c',
      'theirs.ctx',
    );
    await tpm.tool('tpm2_evictcontrol', '-C', 'o', '-c', 'theirs.ctx', HANDLE);
    await expect(quote(way.once(), key, randomBytes(32))).toRejectWithCode('tpm.key_lost');
    // Nor is it taken away from them: whoever put it there has to.
    await expect(ensure()).toRejectWithCode('tpm.handle_in_use');
    await tpm.tool('tpm2_evictcontrol', '-C', 'o', '-c', HANDLE);
  });

  test('a cleared TPM gets a new key', async () => {
    const before = await ensure();
    await tpm.tool('tpm2_clear');
    const after = await ensure();
    expect(after.public.bytes).not.toEqual(before.public.bytes);
    const root = randomBytes(32);
    expectGood(await quote(way.once(), after, root), after, root);
  });

  test('a TPM that is away gives a typed error, and works again when it is back', async () => {
    const key = await ensure();
    await tpm.kill();
    await expect(quote(way.once(), key, randomBytes(32))).toRejectWithCode('tpm.unavailable');
    await expect(ensure()).toRejectWithCode('tpm.unavailable');
    await tpm.restart();
    const root = randomBytes(32);
    expectGood(await quote(way.once(), key, root), key, root);
  });
});

test('the endorsement key comes with its certificate', async () => {
  const ek = await readEndorsementKey(tools);
  expect(ek).toMatchObject({ template: { name: 'L-1' }, certificates: [expect.any(Buffer)] });
});

test('a tool that hangs gives a typed error in bounded time', async () => {
  const slow = join(tpm.folder, 'slow');
  await writeFile(slow, '#!/bin/sh\nexec sleep 30\n');
  await chmod(slow, 0o700);
  await expect(tools.exclusive(() => tools.run(slow, [], 100))).toRejectWithCode('tpm.timeout');
  await expect(tools.exclusive(() => tools.run('tpm2_no_such_tool', []))).toRejectWithCode('tpm.tools_missing');
});
