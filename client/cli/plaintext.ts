/**
 * SLS_ALLOW_PLAINTEXT=1: passwords and tokens may go to http:// services of the network. For clusters whose ingress has no TLS, such as test
 * clusters; an environment variable, so that no saved session and no trust bundle can switch it on.
 */
export function allowPlaintext(env: NodeJS.ProcessEnv = process.env): boolean {
  return env['SLS_ALLOW_PLAINTEXT'] === '1';
}
