import { join } from 'node:path';
import { xdgFolder } from '../runtime/config/home';

/** Where `sls up` keeps the installation unless told: $XDG_STATE_HOME/sls/server. @throws CodedError config.invalid without a home */
export function defaultInstallationFolder(env: NodeJS.ProcessEnv = process.env): string {
  return join(xdgFolder('XDG_STATE_HOME', env), 'server');
}
