import { homedir } from 'node:os';
import { join } from 'node:path';

/** A folder of the XDG Base Directory Specification, with `sls` under it. Relative values are ignored, as it demands. */
function xdg(variable: string, fallback: string, env: NodeJS.ProcessEnv): string {
  const value = env[variable];
  return join(value?.startsWith('/') ? value : join(homedir(), fallback), 'sls');
}

export function configFolder(env: NodeJS.ProcessEnv = process.env): string {
  return xdg('XDG_CONFIG_HOME', '.config', env);
}

export function stateFolder(env: NodeJS.ProcessEnv = process.env): string {
  return xdg('XDG_STATE_HOME', '.local/state', env);
}
