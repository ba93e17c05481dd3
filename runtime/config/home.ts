import { userInfo } from 'node:os';
import { join } from 'node:path';
import { CodedError } from '../../errors/coded-error';

/** Nobody says where this user's files are. */
class NoHome extends CodedError<'config.invalid'> {
  override readonly name = 'NoHome';
  readonly hint = 'set HOME, or both XDG_CONFIG_HOME and XDG_STATE_HOME, to absolute paths';
}

/**
 * The user's folder: HOME, and where that is empty or relative, as if it weren't set, that of the user's entry in passwd(5), as ssh has it. Never the working
 * folder, whoever's that is.
 * @throws NoHome where there is neither
 */
function homeFolder({ HOME }: NodeJS.ProcessEnv): string {
  if (HOME?.startsWith('/')) return HOME;
  try {
    const { homedir } = userInfo();
    if (homedir.startsWith('/')) return homedir;
  } catch {
    // There is no entry.
  }
  throw new NoHome(
    'config.invalid',
    `no home folder: HOME is ${HOME === undefined ? 'not set' : JSON.stringify(HOME)}, and user ${process.getuid?.() ?? '?'} has none in passwd`,
  );
}

const FALLBACK = { XDG_CONFIG_HOME: ['.config'], XDG_STATE_HOME: ['.local', 'state'] } as const;

/** Our folder in one of the XDG Base Directory Specification. Relative values are ignored, as it demands. @throws NoHome */
export function xdgFolder(variable: keyof typeof FALLBACK, env: NodeJS.ProcessEnv = process.env): string {
  const value = env[variable];
  return join(value?.startsWith('/') ? value : join(homeFolder(env), ...FALLBACK[variable]), 'sls');
}
