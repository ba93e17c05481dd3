import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Installation } from './installation';
import { supervise } from './supervisor';
import { createSwtpmState, startSwtpm } from './swtpm';
import type { Swtpm } from './swtpm';
import { writeWhole } from '../runtime/files/whole-file';
import type { Logger } from '../runtime/log/log';

export type TpmChoice =
  | { kind: 'software' }
  /** A TPM that is there, by its TCTI, such as device:/dev/tpmrm0, and the folder with its makers' CA certificates (PEM). */
  | { kind: 'given'; tcti: string; ekRootsFolder: string };

export interface PreparedTpm {
  /** What the attestor's TPM setting takes. */
  tcti: string;
  /** CA certificates, PEM, that endorsement keys may be certified by. */
  ekRootsFolder: string;
  /** Firmware event log that belongs to this TPM; left out: where the kernel has it. */
  eventLogFile?: string;
  stop(): Promise<void>;
}

/** Starts the software TPM, or names the machine's. @throws SwtpmError */
export async function prepareTpm(
  { path }: Installation,
  choice: TpmChoice,
  { report, log, requireThere }: { report(line: string): void; log: Logger; requireThere(): Promise<void> },
): Promise<PreparedTpm> {
  if (choice.kind === 'given') {
    return { tcti: choice.tcti, ekRootsFolder: choice.ekRootsFolder, stop: () => Promise.resolve() };
  }
  const stateFolder = path('tpm');
  const certificates = await createSwtpmState(stateFolder, { caFolder: path('tpm-ca') });
  const ekRootsFolder = path('ek-roots');
  await rm(ekRootsFolder, { recursive: true, force: true });
  await mkdir(ekRootsFolder, { mode: 0o700 });
  for (const [index, pem] of certificates.entries()) await writeWhole(join(ekRootsFolder, `swtpm-${index}.pem`), pem);
  const socket = path('run', 'tpm.sock');
  const start = async (): Promise<Swtpm> => {
    await requireThere();
    return startSwtpm({ stateFolder, socket });
  };
  const swtpm = await supervise('the software TPM', start, { report, log });
  // The machine's own log tells of the machine's own TPM. Nothing boots with this one, so there is no log, unless a test puts one there.
  return { tcti: `swtpm:path=${socket}`, ekRootsFolder, eventLogFile: path('event-log'), stop: () => swtpm.stop() };
}
