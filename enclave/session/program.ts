import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { status } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** What a command gets of the enclave's own environment. Its settings are no business of the command's. */
const PASSED_ON = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR', 'USER', 'LOGNAME', 'SHELL'];

/** Set by who starts enclaves as processes; it finds by it what a killed enclave left. */
const MARK = 'SLS_WORKLOAD';

/** The environment of a command: a little of ours, and what the client wants. */
export function commandEnvironment(wanted: Record<string, string>, workspace: string): Record<string, string> {
  const env: Record<string, string> = { PATH: DEFAULT_PATH, HOME: workspace };
  for (const name of PASSED_ON) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  const mark = process.env[MARK];
  return { ...env, ...wanted, ...(mark !== undefined && { [MARK]: mark }) };
}

/**
 * Finds the program as execvp(3) does: a name with a slash is a path, others are looked for along PATH.
 * @throws RpcError NOT_FOUND `exec.not_found`, PERMISSION_DENIED `exec.not_executable`
 */
export async function findProgram(name: string, directory: string, path: string): Promise<string> {
  const candidates = name.includes('/')
    ? [resolve(directory, name)]
    : path.split(':').map((folder) => join(resolve(directory, folder), name));
  let found = false;
  for (const file of candidates) {
    const info = await stat(file).catch(() => undefined);
    if (!info?.isFile()) continue;
    found = true;
    if (
      await access(file, constants.X_OK).then(
        () => true,
        () => false,
      )
    )
      return file;
  }
  if (found)
    throw new RpcError('exec.not_executable', status.PERMISSION_DENIED, `${JSON.stringify(name)}: not executable`);
  throw new RpcError('exec.not_found', status.NOT_FOUND, `${JSON.stringify(name)}: no such program`);
}
