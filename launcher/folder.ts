import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where `sls up` keeps the installation unless told: $XDG_STATE_HOME/sls/server. */
export function defaultInstallationFolder(env: NodeJS.ProcessEnv = process.env): string {
  const state = env['XDG_STATE_HOME']?.startsWith('/') ? env['XDG_STATE_HOME'] : join(homedir(), '.local', 'state');
  return join(state, 'sls', 'server');
}
