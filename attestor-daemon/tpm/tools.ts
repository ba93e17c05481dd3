import { execFile } from 'node:child_process';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isOutOfSlots } from '../../attestation/tpm/response-code';
import { TpmCommandError } from './errors';
import { explainUnreachable } from './explain';
import { onFile, writeNamed } from '../../runtime/name-path';
import type { HierarchyAuthorizations } from './explain';

/** Signing takes under a second on the slowest TPMs; RSA keys take up to a minute. */
const COMMAND_MS = 10_000;
export const KEY_CREATION_MS = 120_000;

/** Response codes of the TPM itself have no layer in their upper half (TSS 2.0 Overview, "Response code layers"). */
const LAYER = 0xffff0000;

/** Runs tpm2-tools against one TPM, one command at a time. Files of a command live in `folder`, which only this user can enter. */
export class TpmTools {
  private last: Promise<unknown> = Promise.resolve();

  private constructor(
    readonly folder: string,
    readonly tcti: string,
    /** See asHierarchy. */
    readonly auth: HierarchyAuthorizations,
  ) {}

  /**
   * @param tcti device:/dev/tpmrm0, swtpm:path=/SOCKET: whatever tpm2-tools take as --tcti
   * @param folder for files between commands, of this process alone: what an earlier one left there is removed
   */
  static async open(tcti: string, folder: string, auth: HierarchyAuthorizations = {}): Promise<TpmTools> {
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true, mode: 0o700 });
    return new TpmTools(folder, tcti, auth);
  }

  async close(): Promise<void> {
    await this.last.catch(() => undefined);
    await rm(this.folder, { recursive: true, force: true });
  }

  /** Gives `work` the TPM to itself, as far as this process goes: commands that belong together aren't interleaved. */
  exclusive<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.last.then(work, work);
    this.last = turn.catch(() => undefined);
    return turn;
  }

  /**
   * Runs one tool, inside `exclusive`. When the TPM has no room for another object or session, because whoever used it before left some,
   * what is loaded is flushed and the tool runs once more: without a resource manager a TPM may have three slots only.
   * @returns what it prints
   * @throws TpmCommandError
   */
  async run(tool: string, args: readonly string[], timeoutMs = COMMAND_MS): Promise<string> {
    try {
      return await this.spawn(tool, args, timeoutMs);
    } catch (error) {
      if (!(error instanceof TpmCommandError) || !isOutOfSlots(error.responseCode ?? 0)) throw error;
      await this.flush();
      return this.spawn(tool, args, timeoutMs);
    }
  }

  /** Removes every transient object, and every session, loaded or saved. */
  async flush(): Promise<void> {
    for (const kind of ['--transient-object', '--loaded-session', '--saved-session'])
      await this.spawn('tpm2_flushcontext', [kind], COMMAND_MS);
  }

  file(name: string): string {
    return join(this.folder, name);
  }

  read(name: string): Promise<Buffer> {
    return onFile(this.file(name), () => readFile(this.file(name)));
  }

  write(name: string, content: Uint8Array): Promise<void> {
    return writeNamed(this.file(name), content);
  }

  remove(name: string): Promise<void> {
    return rm(this.file(name), { force: true });
  }

  private spawn(tool: string, args: readonly string[], timeoutMs: number): Promise<string> {
    const env = { PATH: process.env['PATH'] ?? '/usr/bin:/bin', TPM2TOOLS_TCTI: this.tcti, TSS2_LOG: 'all+error' };
    return new Promise((resolve, reject) => {
      execFile(
        tool,
        [...args],
        { env, cwd: this.folder, timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: 256 * 1024 },
        (error, output, errors) => {
          if (error === null) resolve(output);
          else reject(describe(tool, error, errors, { timeoutMs, tcti: this.tcti }));
        },
      );
    });
  }
}

function describe(
  tool: string,
  error: Error & { code?: unknown; killed?: boolean },
  errors: string,
  { timeoutMs, tcti }: { timeoutMs: number; tcti: string },
): TpmCommandError {
  if (error.code === 'ENOENT')
    return new TpmCommandError(
      'tpm.tools_missing',
      `expected ${tool} (Debian package tpm2-tools), got nothing of that name`,
    );
  if (error.killed === true) return new TpmCommandError('tpm.timeout', `expected ${tool} to end in ${timeoutMs} ms`);
  const unreachable = explainUnreachable(errors, tcti);
  if (unreachable !== undefined) return unreachable;
  const codes = [...errors.matchAll(/\(0x([0-9a-f]{1,8})\)/gi)].map((match) => parseInt(match[1] ?? '', 16));
  const fromTpm = codes.find((code) => code !== 0 && (code & LAYER) === 0);
  // Last line first: the others are what led to it.
  const lines = errors.split('\n').filter((line) => line.startsWith('ERROR: ') && !line.includes('Unable to run'));
  const text = (lines.at(-1) ?? 'ERROR: it gave no reason').slice('ERROR: '.length, 300);
  const code = fromTpm !== undefined || !/tcti/i.test(errors) ? 'tpm.failed' : 'tpm.unavailable';
  return new TpmCommandError(code, `${tool}: ${text}`, fromTpm);
}
