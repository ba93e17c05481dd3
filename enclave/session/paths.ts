import { resolve } from 'node:path';
import { status } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';
import type { EnclaveCode } from '../../errors/enclave';

/** PATH_MAX of Linux, in bytes. */
const MAX_PATH_BYTES = 4096;

/**
 * Where a path of the client's leads: absolute as it is, or relative to the workspace. The enclave is the user's own, so every file that its
 * process may touch is theirs to name.
 * @throws RpcError INVALID_ARGUMENT `file.path`
 */
export function resolvePath(workspace: string, path: string): string {
  const wrong = (what: string): RpcError =>
    new RpcError('file.path', status.INVALID_ARGUMENT, `expected a path, got ${what}`);
  if (path === '') throw wrong('an empty one');
  if (path.includes('\0')) throw wrong('one with a NUL');
  if (Buffer.byteLength(path) >= MAX_PATH_BYTES) throw wrong(`one of ${MAX_PATH_BYTES} bytes or more`);
  return resolve(workspace, path);
}

const REASONS: Record<string, { code: EnclaveCode; grpcStatus: status; text: string }> = {
  ENOENT: { code: 'file.not_found', grpcStatus: status.NOT_FOUND, text: 'no such file or folder' },
  ENOTDIR: { code: 'file.not_found', grpcStatus: status.NOT_FOUND, text: 'a part of the path is not a folder' },
  EISDIR: { code: 'file.is_folder', grpcStatus: status.FAILED_PRECONDITION, text: 'it is a folder' },
  EACCES: { code: 'file.denied', grpcStatus: status.PERMISSION_DENIED, text: 'permission denied' },
  EPERM: { code: 'file.denied', grpcStatus: status.PERMISSION_DENIED, text: 'permission denied' },
  EROFS: { code: 'file.denied', grpcStatus: status.PERMISSION_DENIED, text: 'the file system is read-only' },
  EBUSY: { code: 'file.denied', grpcStatus: status.FAILED_PRECONDITION, text: 'it is in use' },
  ETXTBSY: { code: 'file.denied', grpcStatus: status.FAILED_PRECONDITION, text: 'it is a program that runs' },
  ENOSPC: { code: 'file.no_space', grpcStatus: status.RESOURCE_EXHAUSTED, text: 'no space left in the enclave' },
  EDQUOT: { code: 'file.no_space', grpcStatus: status.RESOURCE_EXHAUSTED, text: 'no space left in the enclave' },
  EFBIG: {
    code: 'file.no_space',
    grpcStatus: status.RESOURCE_EXHAUSTED,
    text: 'the file is larger than the file system takes',
  },
  ENAMETOOLONG: { code: 'file.path', grpcStatus: status.INVALID_ARGUMENT, text: 'the name is too long' },
  ELOOP: { code: 'file.path', grpcStatus: status.INVALID_ARGUMENT, text: 'too many symbolic links' },
};

/** Says what the operating system said, about the path as the client wrote it. Anything unforeseen stays internal. */
export function fileError(error: unknown, path: string): unknown {
  const reason = REASONS[(error as NodeJS.ErrnoException).code ?? ''];
  if (error instanceof RpcError || !reason) return error;
  return new RpcError(reason.code, reason.grpcStatus, `${JSON.stringify(path)}: ${reason.text}`, { cause: error });
}
