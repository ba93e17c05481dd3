import { readlink, realpath } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { status } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';

/**
 * Refuses a file that tells of the enclave's program itself, whatever name or link led to it: the credential by which the attestor knows it, and
 * what the kernel shows of its process. A command couldn't read the latter, so asking the program to read it is no way round.
 * @param credentialFile the workload's credential. In a cluster it is a link to the newest of several folders
 * @throws RpcError PERMISSION_DENIED `file.denied`
 */
export async function refuseOwnFile(file: FileHandle, credentialFile: string): Promise<void> {
  const opened = await readlink(`/proc/self/fd/${file.fd}`);
  const folder = await realpath(dirname(credentialFile)).catch(() => dirname(credentialFile));
  const isCredential = opened.startsWith(`${folder}/`) && basename(opened) === basename(credentialFile);
  if (!isCredential && !opened.startsWith(`/proc/${process.pid}/`)) return;
  throw new RpcError('file.denied', status.PERMISSION_DENIED, "the file is the enclave's own");
}
