import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';

/**
 * Where kubectl and the client library would look for a kubeconfig and find none: both go on with localhost:8080 then, which nobody meant.
 * @returns a sentence that says so; undefined where there is one, or where this is a pod
 */
export function missingKubeconfig(env: NodeJS.ProcessEnv = process.env): string | undefined {
  if (env['KUBERNETES_SERVICE_HOST']) return undefined;
  const named = env['KUBECONFIG'];
  const paths = named ? named.split(delimiter) : [join(env['HOME'] ?? homedir(), '.kube', 'config')];
  if (paths.some((path) => existsSync(path))) return undefined;
  return named
    ? `expected a kubeconfig in KUBECONFIG, got ${named}, where there is none`
    : `expected a kubeconfig at ${paths.join()}, or named by KUBECONFIG, got none`;
}
