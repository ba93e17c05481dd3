import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startSwtpm } from '../../launcher/swtpm';
import type { Swtpm } from '../../launcher/swtpm';
import { copySwtpmState } from './software-tpm';

const run = promisify(execFile);

/** A node's TPM as it leaves the factory: endorsement keys, and certificates for them by a maker's CA. */
export interface NodeTpm {
  /** A folder of the test's own, short enough for sockets; removed with the TPM. */
  folder: string;
  tcti: string;
  /** PEM. */
  caCertificates: string[];
  /** As any other process on the machine could: runs a tool against the same TPM, in the folder. */
  tool(name: string, ...args: string[]): Promise<string>;
  read(name: string): Promise<Buffer>;
  write(name: string, content: Buffer): Promise<void>;
  /** By SIGKILL. */
  kill(): Promise<void>;
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts a software TPM. TPMs with one `caFolder` have one maker. */
export async function startNodeTpm(options: { caFolder?: string } = {}): Promise<NodeTpm> {
  const folder = await mkdtemp(join(tmpdir(), 'sls-tpm-'));
  const stateFolder = join(folder, 'state');
  const socket = join(folder, 'tpm.sock');
  const caCertificates = await copySwtpmState(stateFolder, { caFolder: options.caFolder ?? join(folder, 'ca') });
  let running: Swtpm = await startSwtpm({ stateFolder, socket });
  const env = { PATH: process.env['PATH'], TPM2TOOLS_TCTI: running.tcti, TSS2_LOG: 'all+none' };
  return {
    folder,
    tcti: running.tcti,
    caCertificates,
    tool: async (name, ...args) => (await run(name, args, { env, cwd: folder, timeout: 120_000 })).stdout,
    read: (name) => readFile(join(folder, name)),
    write: (name, content) => writeFile(join(folder, name), content),
    async kill() {
      process.kill(running.pid, 'SIGKILL');
      await running.exited;
    },
    async restart() {
      running = await startSwtpm({ stateFolder, socket });
    },
    async stop() {
      await running.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
