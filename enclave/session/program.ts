import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { status } from '@grpc/grpc-js';
import { RpcError } from '../../runtime/rpc/errors';

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** What a command gets of the enclave's own environment, documented in docs/using.md. The enclave's settings are no business of a command's. */
export const INHERITED_ENVIRONMENT = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR', 'USER', 'LOGNAME', 'SHELL'];

/** Set by who starts enclaves as processes; it finds by it what a killed enclave left. */
const MARK = 'SLS_WORKLOAD';

/** The environment of a command: a little of ours, and what the client wants. */
export function commandEnvironment(
  wanted: Record<string, string>,
  workspace: string,
  own: NodeJS.ProcessEnv = process.env,
): Record<string, string> {
  const env: Record<string, string> = { PATH: DEFAULT_PATH, HOME: workspace };
  for (const name of INHERITED_ENVIRONMENT) {
    const value = own[name];
    if (value !== undefined) env[name] = value;
  }
  const mark = own[MARK];
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
