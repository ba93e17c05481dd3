import { CliError, EXIT } from './exit';
import { askSilently } from './prompt';
import { readInput } from './input';

/** Three parts of base64url, the first of them a JSON object: a JWS. */
const JWS = /^eyJ[\w-]*\.[\w-]*\.[\w-]*$/;

/**
 * Reads a licence key from a file, from standard input (-), or from the terminal without echo. Never from argv: others on this machine see it.
 * @throws CliError
 */
export async function readLicenceKey(file: string | undefined): Promise<string> {
  if (file !== undefined && JWS.test(file)) {
    throw new CliError(
      EXIT.usage,
      'expected a file with the licence key, got the key itself: other users can read command lines',
      {
        hint: 'omit it to be asked for the key, or pass the key on standard input: sls redeem -',
      },
    );
  }
  const key = (await read(file)).trim();
  if (key === '') throw new CliError(EXIT.usage, 'no licence key');
  return key;
}

async function read(file: string | undefined): Promise<string> {
  if (file !== undefined) return readInput(file, 'the licence key');
  if (!process.stdin.isTTY)
    throw new CliError(EXIT.usage, 'no terminal on which to ask for the licence key', {
      hint: 'name its file, or - for standard input',
    });
  return askSilently('Licence key: ');
}
