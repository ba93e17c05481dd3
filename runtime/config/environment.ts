import { z } from 'zod';
import { parseAddress, parseListenAddress } from '../rpc/address';
import { CodedError } from '../../errors/coded-error';

/** A setting that is missing or malformed. The program ends with exit code 2. */
export class ConfigError extends CodedError<'config.invalid'> {
  override readonly name = 'ConfigError';

  constructor(message: string, options?: ErrorOptions) {
    super('config.invalid', message, options);
  }
}

/** What is wrong with files that settings name. @param files paths by setting @param reason says nothing of what is in them */
export function settingFileError(
  files: Readonly<Record<string, string>>,
  reason: string,
  cause?: unknown,
): ConfigError {
  const named = Object.entries(files).map(([name, path]) => `${name} (${path})`);
  return new ConfigError(`${named.join(', ')}: ${reason}`, { cause });
}

function parsed<T>(parse: (text: string) => T) {
  return z.string().transform((text, context) => {
    try {
      return parse(text);
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message });
      return z.NEVER;
    }
  });
}

/** A setting that holds an address: unix:/PATH, http://HOST:PORT, https://HOST:PORT. */
export const addressSetting = parsed(parseAddress);

/** As `addressSetting`, or a socket that was passed on: fd:NUMBER. */
export const listenAddressSetting = parsed(parseListenAddress);

/**
 * Reads a program's settings from environment variables by their schema.
 * Secrets come as paths of files, never as values: a process's environment is visible to others.
 * @throws ConfigError that lists every setting that is wrong.
 */
export function readEnvironment<Schema extends z.ZodObject>(
  schema: Schema,
  env: NodeJS.ProcessEnv = process.env,
): z.infer<Schema> {
  const result = schema.safeParse(env);
  if (result.success) return result.data;
  const lines = result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
  throw new ConfigError(`settings are wrong: ${lines.join('; ')}`);
}
