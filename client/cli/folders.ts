import { xdgFolder } from '../../runtime/config/home';

export function configFolder(): string {
  return xdgFolder('XDG_CONFIG_HOME');
}

export function stateFolder(): string {
  return xdgFolder('XDG_STATE_HOME');
}
