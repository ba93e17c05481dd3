import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startSwtpm } from '../../launcher/swtpm';
import { QUOTED_PCRS } from '../../attestation/tpm/pcr';

const run = promisify(execFile);

/** What an attestation key of the attestor's has, as tpm2-tools write it. */
const AK_ATTRIBUTES = 'restricted|sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth';

export interface RealAk {
  /** Context file. */
  context: string;
  /** TPMT_PUBLIC. */
  public: Buffer;
  /** As tpm2_checkquote takes it. */
  pemFile: string;
}

export interface RealQuote {
  attest: Buffer;
  signature: Buffer;
  /** Values of QUOTED_PCRS in the SHA-256 bank. */
  pcrs: Buffer[];
}

/** A software TPM with tpm2-tools, every bank active, nothing in it but what a test makes. */
export interface TestTpm {
  folder: string;
  tool(name: string, ...args: string[]): Promise<string>;
  createAk(attributes?: string, algorithm?: string): Promise<RealAk>;
  /** PCR 23 := extend(0, root), then a quote with these qualifying data. */
  quote(ak: RealAk, root: Buffer, options?: { selection?: string; extraData?: Buffer }): Promise<RealQuote>;
  stop(): Promise<void>;
}

export async function startTestTpm(): Promise<TestTpm> {
  const folder = await mkdtemp(join(tmpdir(), 'tpm-'));
  const stateFolder = join(folder, 'state');
  await mkdir(stateFolder);
  // No CA: this TPM has no endorsement certificates.
  await writeFile(join(stateFolder, 'ca-certificates.pem'), '');
  const swtpm = await startSwtpm({ stateFolder, socket: join(folder, 's') });
  const path = (name: string): string => join(folder, name);
  let made = 0;

  async function tool(name: string, ...args: string[]): Promise<string> {
    const { stdout } = await run(name, args, { env: { ...process.env, TPM2TOOLS_TCTI: swtpm.tcti }, cwd: folder });
    return stdout;
  }

  return {
    folder,
    tool,
    async createAk(attributes = AK_ATTRIBUTES, algorithm = 'ecc256:ecdsa-sha256:null') {
      const name = `ak${made++}`;
      const context = path(`${name}.ctx`);
      await tool(
        'tpm2_createprimary',
        '-Q',
        '-C',
        'o',
        '-g',
        'sha256',
        '-G',
        algorithm,
        '-a',
        attributes,
        '-c',
        context,
      );
      await tool('tpm2_readpublic', '-Q', '-c', context, '-f', 'tpmt', '-o', path(`${name}.tpmt`));
      await tool('tpm2_flushcontext', '-t');
      await tool('tpm2_readpublic', '-Q', '-c', context, '-f', 'pem', '-o', path(`${name}.pem`));
      await tool('tpm2_flushcontext', '-t');
      return { context, public: await readFile(path(`${name}.tpmt`)), pemFile: path(`${name}.pem`) };
    },
    async quote(ak, root, options = {}) {
      const list = `sha256:${QUOTED_PCRS.join(',')}`;
      const qualification = (options.extraData ?? root).toString('hex');
      await tool('tpm2_pcrreset', '-Q', '23');
      await tool('tpm2_pcrextend', '-Q', `23:sha256=${root.toString('hex')}`);
      const out = ['-m', path('attest'), '-s', path('signature'), '-f', 'tss'];
      await tool(
        'tpm2_quote',
        '-Q',
        '-c',
        ak.context,
        '-l',
        options.selection ?? list,
        '-q',
        qualification,
        '-g',
        'sha256',
        ...out,
      );
      await tool('tpm2_flushcontext', '-t');
      await tool('tpm2_pcrread', '-Q', list, '-o', path('pcrs'));
      const values = await readFile(path('pcrs'));
      return {
        attest: await readFile(path('attest')),
        signature: await readFile(path('signature')),
        pcrs: QUOTED_PCRS.map((_, at) => values.subarray(at * 32, at * 32 + 32)),
      };
    },
    async stop() {
      await swtpm.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
