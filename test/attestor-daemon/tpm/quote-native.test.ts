import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureAttestationKey } from '../../../attestor-daemon/tpm/attestation-key';
import type { AttestationKey } from '../../../attestor-daemon/tpm/attestation-key';
import { tpmOpener } from '../../../attestor-daemon/tpm/open';
import { quote } from '../../../attestor-daemon/tpm/quote';
import type { TpmQuote } from '../../../attestor-daemon/tpm/quote';
import { nativeQuotes } from '../../../attestor-daemon/tpm/quote-native';
import { toolQuotes } from '../../../attestor-daemon/tpm/quote-tools';
import { TpmTools } from '../../../attestor-daemon/tpm/tools';
import { quotesBy } from '../../../attestor-daemon/tpm/transport';
import { TPM_CC } from '../../../attestation/tpm/constants';
import { pcrDigest } from '../../../attestation/tpm/pcr';
import { publicKeyObject } from '../../../attestation/tpm/public';
import { parseQuote } from '../../../attestation/tpm/quote';
import { parseSignature, verifyEcdsaP256 } from '../../../attestation/tpm/signature';
import { startNodeTpm } from '../../support/node-tpm';
import type { NodeTpm } from '../../support/node-tpm';
import { asSimulator, overTcp } from '../../support/tpm-doors';
import type { Door } from '../../support/tpm-doors';

let tpm: NodeTpm;
let tools: TpmTools;
let key: AttestationKey;
const doors: Door[] = [];
beforeAll(async () => {
  tpm = await startNodeTpm();
  tools = await TpmTools.open(tpm.tcti, join(tpm.folder, 'tools'));
  key = await ensureAttestationKey(tools, { handle: '0x81010010', stateDir: join(tpm.folder, 'attestor') });
  const pem = publicKeyObject(key.public).export({ type: 'spki', format: 'pem' });
  await tpm.write('ak.pem', Buffer.from(pem));
});
afterEach(async () => {
  for (const door of doors.splice(0)) await door.close();
});
afterAll(async () => {
  await tools.close();
  await tpm.stop();
});

const socket = (): string => tpm.tcti.slice('swtpm:path='.length);
const native = (tcti = tpm.tcti) => nativeQuotes(tpmOpener(tcti)!, tools);

type Signed = Pick<TpmQuote, 'attest' | 'signature'> & { root: Buffer };

/** What tpm2-tools say of a quote. */
async function checkquote({ attest, signature, root }: Signed): Promise<boolean> {
  await Promise.all([tpm.write('m', attest), tpm.write('s', signature)]);
  const args = ['-u', 'ak.pem', '-m', 'm', '-s', 's', '-q', root.toString('hex'), '-g', 'sha256'];
  return tpm.tool('tpm2_checkquote', ...args).then(
    () => true,
    () => false,
  );
}

/** What our own verifier says of the same. */
function verified({ attest, signature, root }: Signed): boolean {
  try {
    return (
      verifyEcdsaP256(publicKeyObject(key.public), parseSignature(signature), attest) &&
      parseQuote(attest).extraData.equals(root)
    );
  } catch {
    return false;
  }
}

const changed = (bytes: Buffer, at: number): Buffer => {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(at) ^ 1, at);
  return copy;
};

test('tpm2_checkquote and our verifier accept what the TPM signed by its own commands, and refuse both what was changed', async () => {
  const root = randomBytes(32);
  const { attest, signature } = await quote(native(), key, root);
  const good = { attest, signature, root };
  expect([await checkquote(good), verified(good)]).toEqual([true, true]);
  for (const broken of [
    { ...good, root: randomBytes(32) },
    { ...good, signature: changed(signature, signature.length - 1) },
    { ...good, attest: changed(attest, attest.length - 1) },
    { ...good, attest: changed(attest, 0) },
  ])
    expect([await checkquote(broken), verified(broken)]).toEqual([false, false]);
});

test('both transports quote the same PCRs with the same values, and the same key signs', async () => {
  await tpm.tool('tpm2_pcrextend', `4:sha256=${'cd'.repeat(32)}`);
  const root = randomBytes(32);
  const [one, other] = [await quote(native(), key, root), await quote(toolQuotes(tools), key, root)];
  expect(one.pcrs).toEqual(other.pcrs);
  const [a, b] = [parseQuote(one.attest), parseQuote(other.attest)];
  expect(a).toEqual({ ...b, clockInfo: { ...b.clockInfo, clock: a.clockInfo.clock } });
  expect(await checkquote({ ...other, root })).toBe(true);
});

test('the values of the boot PCRs are those of the quote, also when another program extends one between quotes', async () => {
  const sent: number[] = [];
  const counted = nativeQuotes(async () => {
    const connection = await tpmOpener(tpm.tcti)!();
    return {
      ...connection,
      transmit(command) {
        sent.push(command.readUInt32BE(6));
        return connection.transmit(command);
      },
    };
  }, tools);
  const reads = async (): Promise<number> => {
    sent.length = 0;
    const root = randomBytes(32);
    const made = await quote(counted, key, root);
    expect(parseQuote(made.attest).pcrDigest).toEqual(pcrDigest(made.pcrs.map(({ sha256 }) => sha256)));
    return sent.filter((code) => code === TPM_CC.PCR_Read).length;
  };
  expect(await reads()).toBe(3);
  expect(await reads()).toBe(0);
  await tpm.tool('tpm2_pcrextend', `7:sha256=${'ef'.repeat(32)}`);
  expect(await reads()).toBe(3);
  expect(await reads()).toBe(0);
});

test('quotes and tools of other programs go on beside each other, and nothing stays loaded', async () => {
  const quoteOnce = native();
  const quotes = Array.from({ length: 40 }, () => quote(quoteOnce, key, randomBytes(32)));
  const others = Array.from({ length: 8 }, () => tpm.tool('tpm2_getrandom', '--hex', '8'));
  expect(await Promise.all(others)).toEqual(others.map(() => expect.stringMatching(/^[0-9a-f]{16}$/)));
  expect(await Promise.all(quotes)).toHaveLength(40);
  for (const kind of ['transient', 'loaded-session', 'saved-session'])
    expect(await tpm.tool('tpm2_getcap', `handles-${kind}`)).not.toMatch(/0x/);
});

test.each([
  ['swtpm on TCP', overTcp],
  ["the simulator's framing", asSimulator],
])('%s: the tools and the native transport reach the same TPM', async (_name, open) => {
  const door = await open(socket());
  doors.push(door);
  const by = await TpmTools.open(door.tcti, join(tpm.folder, 'door'));
  const root = randomBytes(32);
  const [one, other] = [await quote(native(door.tcti), key, root), await quote(toolQuotes(by), key, root)];
  expect(one.pcrs).toEqual(other.pcrs);
  expect(await checkquote({ ...one, root })).toBe(true);
  await by.close();
});

test('an authorization that is wrong, or gone, is a lost key', async () => {
  const authFile = join(tpm.folder, 'wrong-auth');
  await expect(quote(native(), { ...key, authFile }, randomBytes(32))).toRejectWithCode('tpm.key_lost');
  await writeFile(authFile, `hex:${'00'.repeat(32)}`);
  await expect(quote(native(), { ...key, authFile }, randomBytes(32))).toRejectWithCode('tpm.key_lost', {
    responseCode: 0x9a2,
    message: expect.stringContaining('TPM_RC_BAD_AUTH (session 1)'),
  });
});

test('the transport is the native one where the address is spoken, and tpm2-tools where it is not or they are asked for', async () => {
  const run = jest.spyOn(tools, 'run');
  await quote(quotesBy(undefined, tools), key, randomBytes(32));
  await quote(quotesBy('native', tools), key, randomBytes(32));
  expect(run).not.toHaveBeenCalled();
  await quote(quotesBy('tools', tools), key, randomBytes(32));
  expect(run).toHaveBeenCalledTimes(3);
  run.mockRestore();
  const command = `cmd:exec tpm2_send -T ${tpm.tcti}`;
  const others = await TpmTools.open(command, join(tpm.folder, 'others'));
  const root = randomBytes(32);
  expect(await checkquote({ ...(await quote(quotesBy(undefined, others), key, root)), root })).toBe(true);
  await others.close();
});
