import type { Pod } from '../../core/kubernetes/objects';

/** Variables by which the loader, Node or the shell run other code than the image's. */
const LOADING_VARIABLE = /^(LD_|NODE_|PATH$|BASH_ENV$|ENV$)/;
/** Folders with the image's code. A volume over one of them, inside it or above it replaces code. */
const CODE_FOLDERS = ['/app', '/bin', '/lib', '/lib64', '/sbin', '/usr'];

/**
 * True when the container need not run the program that its image starts. The image's digest says what could run; this says that
 * nobody who may make pods, such as a login service in wrong hands, puts a command, a hook or a file in its place. What
 * `kubectl exec` does later is not seen: nobody but administrators has that right among the enclaves.
 */
export function runsForeignCode(pod: Pod, containerName: string): boolean {
  const container = pod.spec?.containers?.find(({ name }) => name === containerName);
  if (container === undefined) return true;
  const { command, args, env = [], envFrom = [], volumeMounts = [], lifecycle, livenessProbe, readinessProbe, startupProbe } = container;
  if (command !== undefined || args !== undefined || envFrom.length > 0) return true;
  const handlers = [lifecycle?.postStart, lifecycle?.preStop, livenessProbe, readinessProbe, startupProbe];
  if (handlers.some((handler) => handler?.exec !== undefined)) return true;
  if (env.some(({ name }) => LOADING_VARIABLE.test(name))) return true;
  return volumeMounts.some(({ mountPath }) => coversCode(mountPath));
}

function coversCode(mountPath: string): boolean {
  const path = `/${mountPath.split('/').filter((part) => part !== '' && part !== '.').join('/')}`;
  if (path.includes('/..')) return true;
  return path === '/' || path === '/etc' || CODE_FOLDERS.some((folder) => path === folder || path.startsWith(`${folder}/`));
}
