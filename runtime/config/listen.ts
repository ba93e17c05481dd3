import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { z } from 'zod';
import { metricsSettings } from '../metrics/open';
import { TrustedProxies } from '../rpc/peer';
import { addressSetting, ConfigError, settingFileError } from './environment';
import { decodeUtf8 } from '../text/utf8';

/** Addresses and networks (CIDR) of the proxies before a program; nobody else's X-Forwarded-For is believed. */
export const proxiesSetting = z
  .string()
  .default('')
  .transform((text, context) => {
    try {
      return new TrustedProxies(text);
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message });
      return z.NEVER;
    }
  });

/** Settings of every program that serves gRPC: spread into its schema. */
export const listenSettings = {
  LISTEN: addressSetting,
  /** PEM files, for https and only then. */
  TLS_KEY_FILE: z.string().optional(),
  TLS_CERTIFICATE_FILE: z.string().optional(),
  /** Written when the program serves: see writeReadyFile. */
  READY_FILE: z.string().optional(),
  ...metricsSettings,
};

/** Reads a file that a setting names. @throws ConfigError that names the setting and the file, never the content */
export async function readSettingFile(name: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    const { code = 'unknown reason' } = cause as NodeJS.ErrnoException;
    throw settingFileError({ [name]: path }, `the file can't be read: ${code}`, cause);
  }
}

/** As `readSettingFile`, of text. @throws ConfigError that names the setting, never the content */
export async function readSettingText(name: string, path: string): Promise<string> {
  const content = await readSettingFile(name, path);
  try {
    return decodeUtf8(content, 'the file');
  } catch (cause) {
    throw settingFileError({ [name]: path }, (cause as Error).message, cause);
  }
}

/** The key and certificate for an https address; undefined for another one. @throws ConfigError */
export async function readTls(settings: {
  LISTEN: { scheme: string };
  TLS_KEY_FILE?: string;
  TLS_CERTIFICATE_FILE?: string;
}): Promise<{ key: Buffer; certificate: Buffer } | undefined> {
  const { TLS_KEY_FILE: key, TLS_CERTIFICATE_FILE: certificate } = settings;
  if (settings.LISTEN.scheme !== 'https') return undefined;
  if (key === undefined || certificate === undefined) {
    throw new ConfigError('LISTEN: an https address needs TLS_KEY_FILE and TLS_CERTIFICATE_FILE');
  }
  const read = {
    key: await readSettingFile('TLS_KEY_FILE', key),
    certificate: await readSettingFile('TLS_CERTIFICATE_FILE', certificate),
  };
  try {
    createSecureContext({ key: read.key, cert: read.certificate });
  } catch (cause) {
    const files = { TLS_KEY_FILE: key, TLS_CERTIFICATE_FILE: certificate };
    throw settingFileError(files, 'expected a key and its certificate in PEM, got something else', cause);
  }
  return read;
}
