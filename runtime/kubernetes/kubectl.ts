import { spawn } from 'node:child_process';
import { CodedError } from '../../errors/coded-error';
import { missingKubeconfig } from './kubeconfig';
import { decodeUtf8, readableText } from '../text/utf8';

/** kubectl said no. Its own words are the message. */
export class KubectlError extends CodedError<'kubernetes.kubectl'> {
  override readonly name = 'KubectlError';

  constructor(message: string, options?: ErrorOptions) {
    super('kubernetes.kubectl', message, options);
  }
}

/** What kubectl tells its user, without what its library logs about each try (klog: E1130 07:13:59.211845 …). */
const wordsOf = (stderr: Buffer): string =>
  readableText(stderr)
    .split('\n')
    .filter((line) => !/^[EWI]\d{4} \d\d:\d\d:/.test(line))
    .join('\n')
    .trim();

/** Works on files alone. */
const ASKS_NO_CLUSTER = 'kustomize';

/** Runs kubectl with the caller's KUBECONFIG; it knows every way to log in to a cluster. @throws KubectlError */
export async function kubectl(args: string[], input?: string): Promise<string> {
  const missing = args[0] === ASKS_NO_CLUSTER ? undefined : missingKubeconfig();
  if (missing !== undefined) throw new KubectlError(missing);
  const answer = await new Promise<Buffer>((resolve, reject) => {
    const child = spawn('kubectl', args, { stdio: ['pipe', 'pipe', 'pipe'] });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (part: Buffer) => out.push(part));
    child.stderr.on('data', (part: Buffer) => err.push(part));
    child.on('error', (cause) => reject(new KubectlError(`kubectl does not start: ${cause.message}`, { cause })));
    child.on('close', (code) => {
      if (code === 0) resolve(Buffer.concat(out));
      else reject(new KubectlError(wordsOf(Buffer.concat(err)) || `kubectl ended with status ${code}`));
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
  });
  return decodeUtf8(answer, "kubectl's answer");
}

/** The object as kubectl gives it; undefined where there is none. */
export async function find<T>(kind: string, namespace: string, name: string): Promise<T | undefined> {
  const text = await kubectl(['get', kind, name, '-n', namespace, '-o', 'json', '--ignore-not-found']);
  return text.trim() === '' ? undefined : (JSON.parse(text) as T);
}

/** Server-side apply of objects that hold no secret of an earlier run. */
export async function apply(objects: object[]): Promise<void> {
  const list = { apiVersion: 'v1', kind: 'List', items: objects };
  await kubectl(
    ['apply', '--server-side', '--force-conflicts', '--field-manager', 'licensing-install', '-f', '-'],
    JSON.stringify(list),
  );
}
