import type { Pod } from '../../runtime/kubernetes/objects';

/** Variables by which the loader, Node, OpenSSL (a configuration names modules to load) or the shell run other code than the image's. */
const LOADING_VARIABLE = /^(LD_|NODE_|OPENSSL_|GCONV_PATH$|PATH$|BASH_ENV$|ENV$)/;
/**
 * Where the enclave and the cluster mount volumes; nothing in the image is run from there. A volume anywhere else may replace code, or name
 * code to load, as a file at /etc/ld.so.preload does.
 */
const DATA_FOLDERS = ['/etc/licensing', '/run', '/tmp', '/var/log', '/var/run', '/workspace'];

/**
 * True when the container need not run the program that its image starts. The image's digest says what could run; this says that
 * nobody who may make pods, such as a login service in wrong hands, puts a command, a hook or a file in its place. What
 * `kubectl exec` does later is not seen: nobody but administrators has that right among the enclaves.
 */
export function runsForeignCode(pod: Pod, containerName: string): boolean {
  const container = pod.spec?.containers?.find(({ name }) => name === containerName);
  if (container === undefined) return true;
  const {
    command,
    args,
    env = [],
    envFrom = [],
    volumeMounts = [],
    lifecycle,
    livenessProbe,
    readinessProbe,
    startupProbe,
  } = container;
  if (command !== undefined || args !== undefined || envFrom.length > 0) return true;
  const handlers = [lifecycle?.postStart, lifecycle?.preStop, livenessProbe, readinessProbe, startupProbe];
  if (handlers.some((handler) => handler?.exec !== undefined)) return true;
  if (env.some(({ name }) => LOADING_VARIABLE.test(name))) return true;
  return volumeMounts.some(({ mountPath }) => !holdsData(mountPath));
}

function holdsData(mountPath: string): boolean {
  const path = `/${mountPath
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/')}`;
  return !path.includes('/..') && DATA_FOLDERS.some((folder) => path === folder || path.startsWith(`${folder}/`));
}
