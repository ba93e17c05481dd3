import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isSameKey } from '../../attestation/trust/public-key';
import { parseTrustBundle, serializeTrustBundle } from '../../attestation/trust/bundle';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { readSignedBundle } from '../../attestation/trust/signed-bundle';
import { defaultInstallationFolder } from '../../launcher/folder';
import { CliError, EXIT } from './exit';
import { configFolder } from './folders';
import { writeWhole } from '../../runtime/files/whole-file';

export interface TrustOptions {
  /** --trust FILE */
  trust?: string;
  /** --server HOST: services at FUNCTION.HOST instead of where the bundle says. */
  server?: string;
}

/** What a person wants otherwise than the operator's bundle says. Put over every bundle that comes. */
export interface TrustPreferences {
  policy?: Partial<TrustBundle['policy']>;
  services?: TrustBundle['services'];
}

export function applyPreferences(bundle: TrustBundle, { policy, services }: TrustPreferences): TrustBundle {
  return { ...bundle, policy: { ...bundle.policy, ...policy }, services: services ?? bundle.services };
}

/** Where `sls trust add` keeps the bundle. */
export function trustFile(): string {
  return join(configFolder(), 'trust-bundle.json');
}

/** The bundle that `sls trust add` kept. @throws CliError when it can't be read */
export async function pinnedTrust(): Promise<TrustBundle | undefined> {
  return readBundleFile(trustFile(), false);
}

export async function pinTrust(bundle: TrustBundle): Promise<void> {
  await writeWhole(trustFile(), serializeTrustBundle(bundle));
}

/**
 * Keeps a newer bundle in the place of the one that `sls trust add` kept, if that is of the same trust key. A file that was named by --trust is
 * its owner's to replace.
 * @returns false when nothing was kept
 */
export async function keepNewerTrust(newer: TrustBundle): Promise<boolean> {
  const pinned = await pinnedTrust();
  if (!pinned || !isSameKey(pinned.trustKey, newer.trustKey) || newer.sequence <= pinned.sequence) return false;
  await pinTrust(newer);
  return true;
}

/** Reads the trust bundle: --trust, SLS_TRUST, $XDG_CONFIG_HOME/sls/trust-bundle.json, the installation of `sls up` on this machine. */
export async function loadTrust(options: TrustOptions): Promise<TrustBundle> {
  const named = options.trust ?? process.env['SLS_TRUST'];
  const places =
    named !== undefined && named !== ''
      ? [named]
      : [trustFile(), join(defaultInstallationFolder(), 'trust-bundle.json')];
  for (const place of places) {
    const bundle = await readBundleFile(place, place === named);
    if (bundle !== undefined)
      return options.server === undefined ? bundle : { ...bundle, services: servicesOf(options.server) };
  }
  throw new CliError(EXIT.usage, 'no trust bundle: without one nothing can be verified', {
    hint: 'get it from your operator: sls trust add FILE, or sls trust add https://LOGIN.SERVICE; or start a service on this machine: sls up',
  });
}

async function readBundleFile(place: string, required: boolean): Promise<TrustBundle | undefined> {
  const text = await readFile(place, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' && !required) return undefined;
    throw new CliError(EXIT.usage, `can't read the trust bundle ${place}: ${error.code ?? error.message}`);
  });
  if (text === undefined) return undefined;
  try {
    return text.startsWith('{') ? parseTrustBundle(text) : await readSignedBundle(text.trim());
  } catch (error) {
    throw new CliError(EXIT.usage, `${place} is not a trust bundle: ${(error as Error).message}`);
  }
}

/** sls.example.com → https://signup.sls.example.com, https://login.sls.example.com; a scheme and a port are kept. */
export function servicesOf(host: string): TrustBundle['services'] {
  const [, scheme = 'https://', rest = ''] = /^(https?:\/\/)?(.*?)\/?$/.exec(host) ?? [];
  if (!/^[A-Za-z0-9.-]+(:\d+)?$/.test(rest)) {
    throw new CliError(EXIT.usage, `expected --server [http://|https://]HOST[:PORT], got ${JSON.stringify(host)}`);
  }
  return { signup: `${scheme}signup.${rest}`, login: `${scheme}login.${rest}` };
}
