import 'reflect-metadata';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { randomBytes } from 'node:crypto';
import { Extension } from '@peculiar/x509';
import { makePool } from '../../../attestation/certificates/complete-chain';
import { exportSpki } from '../../../attestation/crypto';
import { makeCredential } from '../../../attestation/tpm/credential';
import { ENDORSEMENT_TEMPLATES, parseEndorsementKey } from '../../../attestation/tpm/endorsement';
import type { EndorsementTemplate } from '../../../attestation/tpm/endorsement';
import { publicKeyObject, publicName } from '../../../attestation/tpm/public';
import { ensureAttestationKey } from '../../../attestor-daemon/tpm/attestation-key';
import type { AttestationKey } from '../../../attestor-daemon/tpm/attestation-key';
import { activateCredential, readEndorsementKey } from '../../../attestor-daemon/tpm/endorsement-key';
import { TpmTools } from '../../../attestor-daemon/tpm/tools';
import { verifyEndorsement } from '../../../functions/enrol/endorsement-certificate';
import { startSwtpm } from '../../../launcher/swtpm';
import type { Swtpm } from '../../../launcher/swtpm';
import { makeAuthority, makeLeaf } from '../../support/authority';
import { asOaep } from '../../support/maker-certificate';

const run = promisify(execFile);
const EK_PURPOSE = '2.23.133.8.1';
/** directoryName with tcg-at-tpmManufacturer. */
const MANUFACTURER = Buffer.from(
  `301ca41a301831163014060567810502010c0b${Buffer.from('id:54455354').toString('hex')}`,
  'hex',
);

interface Machine {
  folder: string;
  swtpm: Swtpm;
  tools: TpmTools;
  ak: AttestationKey;
}

/** A TPM without certificates, unless swtpm_setup is told to make some. */
async function start(...setup: string[]): Promise<Machine> {
  const folder = await mkdtemp(join(tmpdir(), 'sls-ek-'));
  const state = join(folder, 'state');
  await mkdir(state);
  const conf = {
    'localca.conf': ['statedir', 'signingkey', 'issuercert', 'certserial'].map((name) =>
      name === 'statedir' ? `${name} = ${folder}` : `${name} = ${folder}/${name}`,
    ),
    'localca.options': ['--platform-manufacturer swtpm', '--platform-version 2.1', '--platform-model swtpm'],
    'setup.conf': [
      'create_certs_tool = /usr/bin/swtpm_localca',
      `create_certs_tool_config = ${folder}/localca.conf`,
      `create_certs_tool_options = ${folder}/localca.options`,
      'active_pcr_banks = sha256',
    ],
  };
  for (const [name, lines] of Object.entries(conf)) await writeFile(join(folder, name), `${lines.join('\n')}\n`);
  await run('swtpm_setup', ['--tpm2', '--tpmstate', state, '--config', `${folder}/setup.conf`, ...setup]);
  await writeFile(join(state, 'ca-certificates.pem'), '');
  const swtpm = await startSwtpm({ stateFolder: state, socket: join(folder, 's') });
  const tools = await TpmTools.open(swtpm.tcti, join(folder, 'tools'));
  const ak = await ensureAttestationKey(tools, { handle: '0x81010010', stateDir: join(folder, 'attestor') });
  return { folder, swtpm, tools, ak };
}

async function stop({ folder, swtpm, tools }: Machine): Promise<void> {
  await tools.close();
  await swtpm.stop();
  await rm(folder, { recursive: true, force: true });
}

const tool = ({ swtpm, folder }: Machine, name: string, ...args: string[]): Promise<unknown> =>
  run(name, args, {
    cwd: folder,
    env: { PATH: process.env['PATH'], TPM2TOOLS_TCTI: swtpm.tcti, TSS2_LOG: 'all+none' },
  });

/** Writes a certificate where the template has it, in an index that is longer. */
async function store(machine: Machine, index: number, certificate: Buffer): Promise<void> {
  const padded = Buffer.concat([certificate, Buffer.alloc(40, 0xff)]);
  await writeFile(join(machine.folder, 'certificate'), padded);
  const at = `0x${index.toString(16).padStart(8, '0')}`;
  const attributes = 'ownerread|ownerwrite|authread|authwrite';
  await tool(machine, 'tpm2_nvdefine', '-Q', at, '-C', 'o', '-s', String(padded.length), '-a', attributes);
  await tool(machine, 'tpm2_nvwrite', '-Q', at, '-C', 'o', '-i', 'certificate');
}

describe.each(
  ENDORSEMENT_TEMPLATES.map((template): [string, EndorsementTemplate] => [
    `${template.name}, ${template.key}`,
    template,
  ]),
)('an endorsement key of template %s', (_, template) => {
  let machine: Machine;
  beforeAll(async () => (machine = await start()));
  afterAll(() => stop(machine));

  test('is found by its certificate, verified by enrol, and the TPM opens what is encrypted to it', async () => {
    const maker = await makeAuthority('maker');
    expect((await readEndorsementKey(machine.tools)).certificates).toEqual([]);
    // The key is there before the certificate: a maker reads it first, too. A certificate of another key is passed over.
    const stranger = await makeLeaf(maker, { usages: [EK_PURPOSE] });
    await store(machine, template.certificateIndex, stranger);
    expect((await readEndorsementKey(machine.tools)).certificates).toEqual([]);
    await tool(machine, 'tpm2_nvundefine', '-Q', '-C', 'o', `0x${template.certificateIndex.toString(16)}`);
    const created = await createBy(machine, template);
    const spki = exportSpki(publicKeyObject(parseEndorsementKey(created)));
    const certificate = await makeLeaf(maker, {
      publicKey: template.name === 'H-6' ? asOaep(spki) : spki,
      usages: [EK_PURPOSE],
      extensions: [new Extension('2.5.29.17', false, MANUFACTURER)],
    });
    await store(machine, template.certificateIndex, certificate);

    const ek = await readEndorsementKey(machine.tools);
    expect(ek).toMatchObject({ template: { name: template.name }, certificates: [certificate] });
    expect(ek.public.bytes).toEqual(created);
    const trust = { roots: [maker.certificate], intermediates: makePool([]), hashes: new Map() };
    expect(verifyEndorsement(ek.public, ek.certificates, trust, new Date())).toMatchObject({
      manufacturer: 'id:54455354',
    });

    const secret = randomBytes(32);
    const name = publicName(machine.ak.public);
    const keys = { ek, ak: machine.ak };
    expect(await activateCredential(machine.tools, keys, makeCredential(ek.public, name, secret))).toEqual(secret);
    const otherName = Buffer.concat([name.subarray(0, 2), randomBytes(32)]);
    await expect(
      activateCredential(machine.tools, keys, makeCredential(ek.public, otherName, secret)),
    ).toRejectWithCode('tpm.failed');
  });

  test('is of this template to the byte: each bit of what stands before the key, flipped, is refused', async () => {
    const created = await createBy(machine, template);
    for (let bit = 0; bit < template.prefix.length * 8; bit++) {
      const changed = Buffer.from(created);
      changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      expect(() => parseEndorsementKey(changed)).toThrow(expect.objectContaining({ name: 'TpmError' }));
    }
  });
});

test("swtpm's own keys of 3072 bits and of P-384, with the certificates that it makes for them", async () => {
  const machine = await start('--create-ek-cert', '--rsa-keysize', '3072');
  try {
    const roots = [await readFile(join(machine.folder, 'swtpm-localca-rootca-cert.pem'), 'utf8')];
    const intermediates = makePool([await readFile(join(machine.folder, 'issuercert'), 'utf8')]);
    const trust = { roots, intermediates, hashes: new Map() };
    const check = async (name: string): Promise<void> => {
      const ek = await readEndorsementKey(machine.tools);
      expect(ek.template.name).toBe(name);
      expect(verifyEndorsement(ek.public, ek.certificates, trust, new Date())).toMatchObject({ software: true });
      const secret = randomBytes(32);
      const made = makeCredential(ek.public, publicName(machine.ak.public), secret);
      expect(await activateCredential(machine.tools, { ek, ak: machine.ak }, made)).toEqual(secret);
    };
    await check('H-3');
    await tool(machine, 'tpm2_nvundefine', '-Q', '-C', 'p', '0x01c00016');
    await check('H-6');
  } finally {
    await stop(machine);
  }
});

/** The key as the maker would make it: by the TPM's own reading of the template (TPM2B_PUBLIC of the prefix and an empty or zero unique field). */
async function createBy(machine: Machine, template: EndorsementTemplate): Promise<Buffer> {
  const size = template.key.startsWith('RSA')
    ? template.policy === 'A'
      ? [256]
      : [0]
    : template.policy === 'A'
      ? [32, 32]
      : [0, 0];
  const unique = size.flatMap((length) => [Buffer.from([length >> 8, length & 0xff]), Buffer.alloc(length)]);
  const area = Buffer.concat([template.prefix, ...unique]);
  const command = Buffer.concat([Buffer.from([area.length >> 8, area.length & 0xff]), area]);
  return createPrimary(machine, command);
}

/** TPM2_CreatePrimary (Part 3, 24.1) in the endorsement hierarchy, with the template as bytes: no tool's idea of it comes between. */
async function createPrimary(machine: Machine, template: Buffer): Promise<Buffer> {
  const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
  const u32 = (value: number): Buffer => Buffer.concat([u16(value >>> 16), u16(value & 0xffff)]);
  const session = Buffer.concat([u32(0x40000009), u16(0), Buffer.from([1]), u16(0)]);
  const body = Buffer.concat([
    u32(0x4000000b),
    u32(session.length),
    session,
    u16(4),
    u16(0),
    u16(0),
    template,
    u16(0),
    u32(0),
  ]);
  await writeFile(
    join(machine.folder, 'command'),
    Buffer.concat([u16(0x8002), u32(body.length + 10), u32(0x131), body]),
  );
  await tool(machine, 'tpm2_flushcontext', '-t');
  await tool(machine, 'tpm2_send', 'command', '-o', 'response');
  await tool(machine, 'tpm2_flushcontext', '-t');
  const response = await readFile(join(machine.folder, 'response'));
  // Header of 10 bytes, handle, size of the parameters; then TPM2B_PUBLIC.
  const length = response.readUInt16BE(18);
  return Buffer.from(response.subarray(20, 20 + length));
}
