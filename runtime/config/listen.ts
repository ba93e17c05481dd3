import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { z } from 'zod';
import { metricsSettings } from '../metrics/open';
import { TrustedProxies } from '../rpc/peer';
import { addressSetting, ConfigError, settingFileError } from './environment';
import { decodeUtf8 } from '../text/utf8';
import type { ServerTls, TlsPair } from '../rpc/server';
import { currentSetting } from './reloading-setting';
import type { ReloadingOptions } from './reloading-file';

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

/**
 * The key and certificate for an https address, which may be replaced while the program runs; undefined for another one. @throws ConfigError
 */
export async function openTls(
  settings: { LISTEN: { scheme: string }; TLS_KEY_FILE?: string; TLS_CERTIFICATE_FILE?: string },
  program: Pick<ReloadingOptions, 'clock' | 'log'> = {},
): Promise<ServerTls | undefined> {
  const { TLS_KEY_FILE: key, TLS_CERTIFICATE_FILE: certificate } = settings;
  if (settings.LISTEN.scheme !== 'https') return undefined;
  if (key === undefined || certificate === undefined) {
    throw new ConfigError('LISTEN: an https address needs TLS_KEY_FILE and TLS_CERTIFICATE_FILE');
  }
  const listeners: Array<(pair: TlsPair) => void> = [];
  const files = await currentSetting(
    { TLS_KEY_FILE: key, TLS_CERTIFICATE_FILE: certificate },
    ([keyPem = Buffer.of(), certificatePem = Buffer.of()]) => {
      const pair = { key: keyPem, certificate: certificatePem };
      requirePair(pair);
      for (const listener of listeners) listener(pair);
      return pair;
    },
    program,
  );
  return {
    get key() {
      return files.current.key;
    },
    get certificate() {
      return files.current.certificate;
    },
    onChange: (listener) => void listeners.push(listener),
    close: () => files.close(),
  };
}

/** Also that the two belong together. @throws TypeError that says nothing of what is in them */
function requirePair({ key, certificate }: TlsPair): void {
  try {
    createSecureContext({ key, cert: certificate });
  } catch (cause) {
    throw new TypeError('expected a key and its certificate in PEM, got something else', { cause });
  }
}
