import { readlink, realpath } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { status } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';

/** What belongs to the enclave's program and not to its user. */
export interface OwnFiles {
  /** The workload's credential. In a cluster it is a link to the newest of several folders. */
  credentialFile: string;
  /** See HIDDEN_DIR in settings.ts. */
  hidden?: string | undefined;
}

/**
 * Refuses a file that tells of the enclave's program itself, whatever name or link led to it: the credential by which the attestor knows it, and
 * what the kernel shows of its process. A command couldn't read the latter, so asking the program to read it is no way round.
 * @throws RpcError PERMISSION_DENIED `file.denied`
 */
export async function refuseOwnFile(file: FileHandle, { credentialFile, hidden }: OwnFiles): Promise<void> {
  const opened = await readlink(`/proc/self/fd/${file.fd}`);
  const folder = await realpath(dirname(credentialFile)).catch(() => dirname(credentialFile));
  const isCredential = opened.startsWith(`${folder}/`) && basename(opened) === basename(credentialFile);
  // Commands have processes of their own numbers: what is seen from here is none of theirs.
  const isProcess = hidden === undefined ? opened.startsWith(`/proc/${process.pid}/`) : /^\/proc\/\d/.test(opened);
  if (isCredential || isProcess || isHidden(opened, hidden)) throw denied();
}

/** Refuses to make a file where only the enclave's own are, whatever links led there. @throws RpcError PERMISSION_DENIED `file.denied` */
export async function refuseOwnPlace(path: string, { hidden }: OwnFiles): Promise<void> {
  if (hidden === undefined) return;
  const folder = await realpath(dirname(path)).catch(() => dirname(path));
  const target = await realpath(path).catch(() => path);
  if ([folder, target, path].some((place) => isHidden(place, hidden) || /^\/proc(\/|$)/.test(place))) throw denied();
}

function isHidden(path: string, hidden: string | undefined): boolean {
  return hidden !== undefined && (path === hidden || path.startsWith(`${hidden}/`));
}

function denied(): RpcError {
  return new RpcError('file.denied', status.PERMISSION_DENIED, "the file is the enclave's own");
}
